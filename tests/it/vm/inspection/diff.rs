//! `diff` of two images, and `run --diff`: known changes of each kind, exactly these.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::{self, filesystem, mounted, physical_volume, run};
use crate::env::guests::{guest, tiny};
use crate::env::mount_ns::MountNs;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

fn fill(top: &Path) {
    for directory in ["etc", "var/log", "gone/below", "replaced"] {
        fs::create_dir_all(top.join(directory)).unwrap();
    }
    let files = [
        "same",
        "touched",
        "content",
        "size",
        "mode",
        "owner",
        "xattr",
        "gone/below/file",
    ];
    for file in files {
        fs::write(top.join("etc").join("x"), "").unwrap();
        fs::write(top.join(file), format!("{file}\nsecond\nthird\n")).unwrap();
    }
    fs::write(top.join("var/log/syslog"), "one\n").unwrap();
    symlink("same", top.join("link")).unwrap();
    let device = top.join("device");
    run("mknod", &[device.to_str().unwrap(), "c", "1", "3"]);
}

/// One change of each kind.
fn change(top: &Path) {
    let path = |name: &str| top.join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    fs::write(path("added"), "new\n").unwrap();
    fs::create_dir(path("added-directory")).unwrap();
    fs::write(path("content"), "CONTENT\nsecond\nthird\n").unwrap();
    fs::write(path("size"), "size\nsecond\n").unwrap();
    fs::set_permissions(path("mode"), fs::Permissions::from_mode(0o4755)).unwrap();
    chown(path("owner"), Some(7), Some(8)).unwrap();
    let set = "import os, sys; os.setxattr(sys.argv[1], 'user.test', b'value')";
    run("python3", &["-c", set, &text("xattr")]);
    run("touch", &["-d", "2001-02-03", &text("touched")]);
    fs::remove_dir_all(path("gone")).unwrap();
    fs::remove_dir(path("replaced")).unwrap();
    fs::write(path("replaced"), "").unwrap();
    fs::remove_file(path("link")).unwrap();
    symlink("elsewhere", path("link")).unwrap();
    fs::remove_file(path("device")).unwrap();
    run("mknod", &[&text("device"), "c", "1", "5"]);
    fs::write(path("var/log/syslog"), "one\ntwo\n").unwrap();
}

/// What `diff` prints of these changes, on a filesystem that is named by `prefix`.
fn expected(prefix: &str, mode: &str) -> String {
    let lines = [
        "A /added",
        "A /added-directory  directory",
        "M /content  content",
        "M /device  device 1:3 -> 1:5",
        "D /gone  directory",
        "D /gone/below  directory",
        "D /gone/below/file",
        "M /link  link same -> elsewhere",
        "M /mode  mode MODE -> 4755",
        "M /owner  owner 0:0 -> 7:8",
        "M /replaced  type directory -> file",
        "M /size  size 18 -> 12, content",
        "M /xattr  xattrs user.test",
    ];
    let line = |line: &str| format!("{} {prefix}{}\n", &line[..1], &line[2..]);
    let text: String = lines.into_iter().map(line).collect();
    text.replace("MODE", mode)
}

fn diff(options: &[&str], before: &Path, after: &Path) -> Finished {
    let diff = Bivouac::new().arg("diff").args(options);
    diff.arg(before).arg(after).output()
}

/// Two filesystems of a kind with [`change`] between them.
fn two(dir: &Path, mib: u64, program: &str, args: &[&str]) -> [PathBuf; 2] {
    let before = filesystem(dir, "before", mib, program, args);
    mounted(&before, fill);
    let after = dir.join("after");
    fs::copy(&before, &after).unwrap();
    mounted(&after, change);
    [before, after]
}

#[track_caller]
fn shows_exactly(expected: &str, before: &Path, after: &Path) {
    let sums = [before, after].map(sha256);
    let found = diff(&[], before, after);
    assert_eq!(
        (found.code(), &*found.stdout),
        (Some(1), expected),
        "{found:?}"
    );
    assert!(found.stderr.contains("2 changes are noise"), "{found:?}");
    let same = diff(&[], before, before);
    assert_eq!((same.code(), &*same.stdout), (Some(0), ""), "{same:?}");
    assert_eq!([before, after].map(sha256), sums);
}

#[test]
fn known_changes_of_each_kind_are_found_on_ext4_and_in_lvm() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 20, "mkfs.ext4", &["-q"]);
    shows_exactly(&expected("", "0644"), &before, &after);
    let volumes = [("a", &before), ("b", &after)].map(|(name, root)| {
        let place = dir.path().join(name);
        fs::create_dir(&place).unwrap();
        physical_volume(&place, "vg", 24, root)
    });
    shows_exactly(&expected("", "0644"), &volumes[0], &volumes[1]);
}

#[test]
fn known_changes_of_each_kind_are_found_on_xfs() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 320, "mkfs.xfs", &["-q"]);
    shows_exactly(&expected("", "0644"), &before, &after);
}

#[test]
fn known_changes_of_each_kind_are_found_on_btrfs() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 128, "mkfs.btrfs", &["-q"]);
    shows_exactly(&expected("", "0644"), &before, &after);
}

#[test]
fn every_filesystem_is_compared_and_one_that_only_one_image_has_is_named() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 20, "mkfs.ext4", &["-q"]);
    let table = "label: dos\nstart=2048, size=40960\nstart=43008, size=40960\n";
    let disk = |name, parts: &[(u64, &Path)]| filesystems::disk(dir.path(), name, 42, table, parts);
    let one = disk("one", &[(1, &before)]);
    let two = disk("two", &[(1, &after), (21, &before)]);
    let found = diff(&["--root", "/dev/vda1"], &one, &two);
    assert_eq!(found.stdout, expected("", "0644"), "{found:?}");
    let three = disk("three", &[(1, &before), (21, &after)]);
    let found = diff(&[], &three, &two);
    // What no system mounts has no logs.
    let is_log = |line: &&str| line.contains("/var/log");
    let without_logs: Vec<&str> = found.stdout.lines().filter(|line| !is_log(line)).collect();
    assert_eq!(
        without_logs.len(),
        found.stdout.lines().count() - 2,
        "{found:?}"
    );
    let first = expected("/dev/vda1:", "0644");
    assert!(
        without_logs.join("\n").starts_with(first.trim_end()),
        "{found:?}"
    );
    // In the second filesystem everything is the other way round.
    assert!(found.stdout.contains("\nD /dev/vda2:/added\n"), "{found:?}");
    assert!(
        found.stdout.contains("\nA /dev/vda2:/gone  directory\n"),
        "{found:?}"
    );
    let found = diff(&["--json"], &one, &three);
    let lines: Vec<Value> = found
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let alone = lines.iter().find(|line| line["what"][0] == "filesystem");
    assert_eq!(alone.unwrap()["change"], "added", "{found:?}");
}

#[test]
fn content_noise_and_json_are_shown_if_they_are_asked_for() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 20, "mkfs.ext4", &["-q"]);
    let content = diff(&["--content"], &before, &after).stdout;
    let hunk = "M /content  content\n--- a/content\n+++ b/content\n@@ -1,3 +1,3 @@\n-content\n\
                +CONTENT\n second\n third\n";
    assert!(content.contains(hunk), "{content}");
    let new = "A /added\n--- /dev/null\n+++ b/added\n@@ -0,0 +1 @@\n+new\n";
    assert!(content.contains(new), "{content}");
    let all = diff(&["--all"], &before, &after).stdout;
    for line in [
        "M /touched  times\n",
        "M /var/log/syslog  size 4 -> 8, content, times\n",
    ] {
        assert!(all.contains(line), "{all}");
    }
    assert!(!all.contains("/same"), "{all}");
    let json = diff(&["--json"], &before, &after).stdout;
    let line = json
        .lines()
        .find(|line| line.contains("\"/mode\""))
        .unwrap();
    let change: Value = serde_json::from_str(line).unwrap();
    assert_eq!(change["before"]["mode"], "0644");
    assert_eq!(change["after"]["mode"], "4755");
    assert_eq!(change["what"], serde_json::json!(["mode"]));
}

/// What a command does in the box, and what `--diff` shows of it.
const SCRIPT: &str = "echo new >/etc/new; rm /etc/inittab; chmod 600 /etc/passwd; touch /etc/group; \
                      mkdir -p /var/log; echo line >/var/log/log; echo data >>/etc/hostname";

#[test]
fn a_run_shows_what_its_command_has_changed_and_nothing_else() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("box.raw");
    let before = sha256(&image);
    let shown = |options: &[&str]| {
        let file = dir.path().join("changes");
        let run = Bivouac::run().args(tiny("switch")).args(options);
        let run = run.arg(format!("--diff={}", file.display())).arg(&image);
        let finished = run.args(["--", "sh", "-c", SCRIPT]).output();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        fs::read_to_string(file).unwrap()
    };
    let warm = shown(&["--warm"]);
    let lines: Vec<&str> = warm.lines().collect();
    assert_eq!(lines.len(), 4, "{warm}");
    assert!(lines[0].starts_with("M /etc/hostname  size ") && lines[0].ends_with(", content"));
    assert_eq!(lines[1], "D /etc/inittab");
    assert_eq!(lines[2], "A /etc/new");
    assert_eq!(lines[3], "M /etc/passwd  mode 0644 -> 0600");
    // A boot writes to other files as well, such as the agent's line in inittab.
    let cold = shown(&[]);
    for line in &lines {
        assert!(cold.contains(line), "{line}: {cold}");
    }
    assert_eq!(sha256(&image), before);
}

#[test]
fn nothing_is_left_of_a_comparison_that_is_killed_whatever_the_instant() {
    let ns = MountNs::new();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let [before, after] = two(dir.path(), 20, "mkfs.ext4", &["-q"]);
    for (from, to) in [(&before, "work/a"), (&after, "work/b")] {
        fs::copy(from, ns.path(to)).unwrap();
    }
    let images = ["work/a", "work/b"].map(|name| ns.path(name));
    let sums = images.each_ref().map(|image| sha256(image));
    let residue = ns.residue();
    let mut random = Random::new();
    for round in 0..30 {
        let signal = [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM][round % 3];
        let running = ns.bivouac().args(["diff", "a", "b"]).start();
        std::thread::sleep(std::time::Duration::from_millis(random.below(3000)));
        let qemus = crate::env::bivouac::children(running.pid());
        running.signal(signal);
        running.wait();
        soon("both QEMUs are gone", || {
            !qemus.iter().any(|qemu| alive(*qemu))
        });
        assert_eq!(ns.residue(), residue, "round {round}, {signal}");
    }
    assert_eq!(images.each_ref().map(|image| sha256(image)), sums);
}
