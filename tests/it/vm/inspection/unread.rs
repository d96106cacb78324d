//! What of an image cannot be read is named, in every form, and the rest is shown.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, filesystem, place, tree};
use crate::env::residue::sha256;

const FSTAB: &str = "/dev/sda2 /home ext4 defaults 0 2\n/dev/sda3 /data xfs defaults 0 2\n\
                     /dev/sda5 /var ext4 defaults 0 2\n";

/// A system on the first of five partitions; of the others only the second can be read: an XFS has a
/// damaged superblock, one is encrypted, and an ext4 is longer than its partition.
fn image(dir: &Path) -> PathBuf {
    let ext4 = |name: &str, mib, files: &[(&str, &str)]| {
        let files = tree(dir, &format!("{name}-files"), files);
        let options = ["-q", "-d", files.to_str().unwrap()];
        filesystem(dir, name, mib, "mkfs.ext4", &options)
    };
    let root = [
        ("etc/os-release", "ID=five\n"),
        ("etc/fstab", FSTAB),
        ("home/.keep", ""),
        ("data/hidden", "hidden"),
        ("var/.keep", ""),
    ];
    let (root, home) = (
        ext4("root", 16, &root),
        ext4("home", 8, &[("file", "file\n")]),
    );
    let xfs = filesystem(dir, "xfs", 300, "mkfs.xfs", &["-q"]);
    let file = File::options().write(true).open(&xfs).unwrap();
    // The number of blocks in the superblock, which has a checksum.
    file.write_all_at(&[0x7f; 4], 12).unwrap();
    let luks = ["luksFormat", "-q", "--pbkdf", "pbkdf2", "--iter-time", "1"];
    let luks = [&luks[..], &["--key-file", "/proc/version"]].concat();
    let luks = filesystem(dir, "luks", 32, "cryptsetup", &luks);
    let long = ext4("long", 64, &[]);
    let script = "label: gpt\nstart=1MiB, size=16MiB\nstart=17MiB, size=8MiB\n\
                  start=25MiB, size=300MiB\nstart=325MiB, size=32MiB\nstart=357MiB, size=24MiB\n";
    let parts = [(1, &*root), (17, &*home), (25, &*xfs), (325, &*luks)];
    let image = disk(dir, "image", 384, script, &parts);
    place(&image, 357 << 20, &long, 0, Some(24 << 20));
    image
}

/// Words of the kernel's own about each of the partitions that it refuses.
const KERNEL: [(&str, &str); 2] = [
    ("/dev/vda3", "SB validate failed"),
    ("/dev/vda5", "bad geometry"),
];

fn inspect_shows_the_rest(image: &str) {
    let done = Bivouac::new().args(["inspect", "--json", image]).output();
    assert_eq!(done.code(), Some(1), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let parts = report["disks"][0]["partitions"].as_array().unwrap();
    let are_used: Vec<_> = (parts.iter())
        .map(|part| part["content"]["used"].is_u64())
        .collect();
    assert_eq!(are_used, [true, true, false, false, false], "{report:#}");
    assert_eq!(report["systems"][0]["id"], "five");
    let warnings = report["warnings"].as_array().unwrap();
    let of = |code: &str| -> Vec<_> {
        let found = warnings.iter().filter(|warning| warning["code"] == code);
        found
            .map(|warning| warning["device"].as_str().unwrap())
            .collect()
    };
    assert_eq!(of("not-mounted"), ["/dev/vda3", "/dev/vda5"], "{report:#}");
    assert_eq!(of("encrypted"), ["/dev/vda4"], "{report:#}");
    assert_eq!(of("mount"), ["/dev/vda1"; 2], "{report:#}");
    for (device, words) in KERNEL {
        let mut found = warnings
            .iter()
            .filter(|warning| warning["device"] == device);
        let reason = found.next().unwrap()["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
        assert!(done.stderr.contains(reason), "{done:?}");
    }
    let remarks = report["remarks"].as_array().unwrap();
    assert_eq!(remarks.len(), warnings.len());
    assert_eq!(done.stderr.matches("warning: ").count(), warnings.len());
}

fn df_has_a_line_for_each(image: &str) {
    let done = Bivouac::new().args(["df", "--json", image]).output();
    assert_eq!(done.code(), Some(1), "{done:?}");
    let rows: Vec<Value> = (done.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let row = |device: &str| rows.iter().find(|row| row["device"] == device).unwrap();
    for device in ["/dev/vda1", "/dev/vda2"] {
        assert!(row(device)["used"].is_u64() && row(device)["error"].is_null());
    }
    for (device, words) in KERNEL {
        let error = row(device)["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
        assert!(done.stderr.contains(words), "{done:?}");
    }
    assert_eq!(row("/dev/vda4")["type"], "luks");
    assert_eq!(
        row("/dev/vda4")["error"],
        "encrypted (LUKS), not opened: --key gives its passphrase"
    );
    // Of one system, only what it mounts, and what it would.
    let done = Bivouac::new()
        .args(["df", "--root", "/dev/vda1", image])
        .output();
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(
        !done.stdout.contains("vda4") && done.stdout.contains("vda2"),
        "{done:?}"
    );
    let done = Bivouac::new()
        .args(["df", "--root", "/dev/vda2", image])
        .output();
    assert_eq!(
        (done.code(), done.stdout.lines().count()),
        (Some(0), 2),
        "{done:?}"
    );
}

fn files_below_a_missing_mount_are_missed(image: &str) {
    let run = |args: &[&str], path: &str| -> Finished {
        let place = format!("{image}:{path}");
        Bivouac::new().args(args).arg(place).output()
    };
    for (path, complete) in [("/home", true), ("/data", false)] {
        let done = run(&["ls"], path);
        let status = i32::from(!complete);
        assert_eq!(done.code(), Some(status), "{done:?}");
        assert!(
            done.stderr.contains("not mounted: /dev/vda3 on /data: "),
            "{done:?}"
        );
        assert!(
            done.stderr.contains("not mounted: /dev/vda5 on /var: "),
            "{done:?}"
        );
    }
    let done = run(&["ls"], "/home");
    assert_eq!(done.stderr.matches("warning: ").count(), 2, "{done:?}");
    // What is below, only if that was asked for.
    assert_eq!(run(&["ls"], "/").code(), Some(0));
    assert_eq!(run(&["ls", "-R"], "/").code(), Some(1));
    let hidden = run(&["cat"], "/data/hidden");
    assert_eq!(
        (hidden.code(), &*hidden.stdout),
        (Some(1), "hidden"),
        "{hidden:?}"
    );
    let hidden = run(&["tail"], "/data/hidden");
    assert_eq!(
        (hidden.code(), &*hidden.stdout),
        (Some(1), "hidden"),
        "{hidden:?}"
    );
    assert_eq!(run(&["cat"], "/home/file").code(), Some(0));
    let dir = tempfile::tempdir().unwrap();
    for (path, status) in [("/", 1), ("/home", 0)] {
        let place = format!("{image}:{path}");
        let to = dir.path().join(format!("to{status}"));
        let done = Bivouac::new().args(["cp", &place]).arg(&to).output();
        assert_eq!(done.code(), Some(status), "{done:?}");
    }
}

fn the_kernels_words_are_the_reason(image: &str) {
    for (device, words) in KERNEL {
        let done = Bivouac::new()
            .args(["ls", "--root", device, image])
            .output();
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains(words), "{done:?}");
    }
    let done = Bivouac::new()
        .args(["ls", "--root", "/dev/vda4", image])
        .output();
    assert_eq!(done.code(), Some(125), "{done:?}");
    assert!(
        done.stderr.contains("/dev/vda4 is no filesystem"),
        "{done:?}"
    );
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let before = sha256(&image);
    let mut cases = Cases::default();
    let path = image.to_str().unwrap();
    cases.case("inspect", || inspect_shows_the_rest(path));
    cases.case("df", || df_has_a_line_for_each(path));
    cases.case("ls, cat, cp, tail", || {
        files_below_a_missing_mount_are_missed(path)
    });
    cases.case("ls --root", || the_kernels_words_are_the_reason(path));
    cases.case("the image is what it was", || {
        assert_eq!(sha256(&image), before)
    });
}

/// What `inspect` cannot open may hold the system.
#[test]
fn a_boot_partition_beside_an_encrypted_one_is_not_taken_for_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = tree(dir, "boot-files", &[("grub/grub.cfg", "")]);
    let options = ["-q", "-d", files.to_str().unwrap()];
    let boot = filesystem(dir, "boot", 16, "mkfs.ext2", &options);
    let luks = ["luksFormat", "-q", "--pbkdf", "pbkdf2", "--iter-time", "1"];
    let luks = [&luks[..], &["--key-file", "/proc/version"]].concat();
    let luks = filesystem(dir, "luks", 32, "cryptsetup", &luks);
    let script = "label: dos\nstart=1MiB, size=16MiB\nstart=17MiB, size=32MiB\n";
    let image = disk(dir, "image", 64, script, &[(1, &boot), (17, &luks)]);
    let image = image.to_str().unwrap();
    let refused = Bivouac::new().args(["ls", image]).output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    for said in [
        "  /dev/vda2: encrypted (LUKS), not opened: --key gives its passphrase\n",
        "  /dev/vda1  ext2\n",
        "hint: --root /dev/vda1",
    ] {
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let named = Bivouac::new()
        .args(["ls", "--root", "/dev/vda1", image])
        .output();
    assert_eq!(
        (named.code(), &*named.stdout),
        (Some(0), "grub\nlost+found\n"),
        "{named:?}"
    );
}
