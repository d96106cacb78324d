//! Many files out of an image: ten thousand small ones and one of 10 GiB that is nearly all hole, and those of
//! filesystems that have their files at the same places.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{disk, empty, filesystem, place, run, write_files};
use crate::env::guests::guest;
use crate::env::residue::sha256;
use crate::env::trees;

#[test]
fn ten_thousand_files_and_a_huge_hole_come_out_of_an_image_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("root/tree");
    trees::plant(&tree);
    let root = dir.path().join("root");
    let options = ["-q", "-N", "12000", "-d", root.to_str().unwrap()];
    let image = filesystem(dir.path(), "image", 96, "mkfs.ext4", &options);
    let before = sha256(&image);
    let place = format!("{}:/tree", image.display());

    let out = dir.path().join("out");
    let finished = Bivouac::new().args(["cp", &place]).arg(&out).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    trees::assert_same(&out, &tree);
    assert_eq!(sha256(&image), before);
}

#[test]
fn files_of_two_filesystems_that_are_read_together_are_each_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let root = dir.path().join(name);
        let fstab = "/dev/vda2 /second ext4 defaults 0 2\n";
        write_files(&root, &[("etc/os-release", "ID=x\n"), ("etc/fstab", fstab)]);
        fs::create_dir_all(root.join("second")).unwrap();
        for number in 0..300 {
            let line = format!("{name} {number:03}\n");
            write_files(&root, &[(&format!("f{number}"), &line.repeat(number))]);
        }
        let options = ["-q", "-d", root.to_str().unwrap()];
        (
            filesystem(
                dir.path(),
                &format!("{name}.ext4"),
                20,
                "mkfs.ext4",
                &options,
            ),
            root,
        )
    };
    let ((one, first), (two, second)) = (make("first-"), make("second"));
    let table = "label: gpt\nstart=1MiB, size=20MiB\nstart=21MiB, size=20MiB\n";
    let image = disk(dir.path(), "disk", 42, table, &[(1, &one), (21, &two)]);
    let before = sha256(&image);
    let assert_same = |found: &Path| {
        for (below, root) in [(found.join("second"), &second), (found.to_owned(), &first)] {
            for number in 0..300 {
                let name = format!("f{number}");
                let (found, expected) = (fs::read(below.join(&name)), fs::read(root.join(&name)));
                assert_eq!(found.unwrap(), expected.unwrap(), "{name} of {below:?}");
            }
        }
    };
    let copy = dir.path().join("copy");
    let place = format!("{}:/", image.display());
    let line = ["cp", "--root", "/dev/vda1", &place];
    let finished = Bivouac::new().args(line).arg(&copy).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_same(&copy);
    let (image, tar) = (image.to_str().unwrap(), dir.path().join("tar"));
    let line = [
        "mount",
        "--root",
        "/dev/vda1",
        image,
        "--",
        "tar",
        "-C",
        "{}",
        "-cf",
    ];
    let line = Bivouac::new().args(line).arg(&tar).arg(".");
    let finished = line.output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let mounted = dir.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    run(
        "tar",
        &[
            "-xf",
            tar.to_str().unwrap(),
            "-C",
            mounted.to_str().unwrap(),
        ],
    );
    assert_same(&mounted);
    assert_eq!(sha256(Path::new(image)), before);
}

/// An XFS of 320 MiB with 20 files on its realtime device of 64 MiB. A guest writes them: not every host can.
fn xfs_with_realtime(dir: &Path) -> [PathBuf; 2] {
    let parts = [("data", 320), ("realtime", 64)].map(|(name, mib)| empty(dir, name, mib));
    let [data, realtime] = parts.each_ref().map(|part| part.display().to_string());
    let external = format!("rtdev={realtime},extsize=4096");
    run(
        "mkfs.xfs",
        &["-q", "-d", "rtinherit=1", "-r", &external, &data],
    );
    let script = "mkdir -p /tmp/m && mount -t xfs -o rtdev=/dev/vdc /dev/vdb /tmp/m
        for i in $(seq 20); do echo \"file $i\" >/tmp/m/f$i; done
        umount /tmp/m && cat /dev/vdb /dev/vdc";
    let written = File::create(dir.join("written")).unwrap();
    let status = Bivouac::new()
        .args(["chroot", "--disk", &format!("{data},format=raw")])
        .args(["--disk", &format!("{realtime},format=raw")])
        .arg(guest("box.raw"))
        .args(["--", "sh", "-c", script])
        .command()
        .stdout(written)
        .status();
    assert!(status.unwrap().success());
    let written = dir.join("written");
    place(&parts[0], 0, &written, 0, Some(320 << 20));
    place(&parts[1], 0, &written, 320 << 20, Some(64 << 20));
    parts
}

#[test]
fn files_on_the_realtime_device_of_an_xfs_are_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let [data, realtime] = xfs_with_realtime(dir.path());
    let root = dir.path().join("root");
    let fstab = "/dev/vda2 /data xfs rtdev=/dev/vda3 0 0\n";
    write_files(&root, &[("etc/os-release", "ID=x\n"), ("etc/fstab", fstab)]);
    fs::create_dir(root.join("data")).unwrap();
    let options = ["-q", "-d", root.to_str().unwrap()];
    let root = filesystem(dir.path(), "root.ext4", 20, "mkfs.ext4", &options);
    let table = "label: gpt\nstart=1MiB, size=20MiB\nstart=21MiB, size=320MiB\nstart=341MiB\n";
    let parts: [(u64, &Path); 3] = [(1, &root), (21, &data), (341, &realtime)];
    let image = disk(dir.path(), "disk", 406, table, &parts);
    let copy = dir.path().join("copy");
    let place = format!("{}:/data", image.display());
    let finished = Bivouac::new().args(["cp", &place]).arg(&copy).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    for number in 1..=20 {
        let found = fs::read_to_string(copy.join(format!("f{number}"))).unwrap();
        assert_eq!(found, format!("file {number}\n"));
    }
}
