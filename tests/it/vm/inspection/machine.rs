//! Every inspection command on real images, each in a machine of its own; and the images are bit
//! for bit what they were.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::made::{disk, filesystem, run, write_files};
use crate::env::residue::sha256;

const OS: &str = "ID=camp\nVERSION_ID=7\nPRETTY_NAME=\"Camp 7\"\n";
const FSTAB: &str = "LABEL=CAMP / ext4 defaults 0 1\nLABEL=EFI /efi vfat umask=0077 0 2\n";

/// Runs `bivouac COMMAND`.
fn bivouac(command: &str, args: &[&str]) -> Finished {
    Bivouac::new().arg(command).args(args).output()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A tree with everything that a copy must keep.
fn tree(root: &Path) {
    write_files(
        root,
        &[
            ("tree/dir/file", "text\n"),
            ("tree/B", "b"),
            ("tree/\x1b[31mred", ""),
        ],
    );
    let tree = root.join("tree");
    fs::hard_link(tree.join("B"), tree.join("dir/same as B")).unwrap();
    symlink("dir/file", tree.join("link")).unwrap();
    symlink("../../../../../../tmp", tree.join("out")).unwrap();
    symlink("/etc/passwd", tree.join("dir/absolute")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 1 << 30).unwrap();
    run("mkfifo", &["-m", "640", path(&tree.join("fifo"))]);
    run("chmod", &["1751", path(&tree.join("dir"))]);
    run("chmod", &["604", path(&tree.join("B"))]);
    // mke2fs keeps whole seconds.
    for entry in [
        "B",
        "dir/file",
        "out",
        "dir/absolute",
        "sparse",
        "fifo",
        "\x1b[31mred",
    ] {
        run(
            "touch",
            &["-h", "-d", "2000-01-02T03:04:05Z", path(&tree.join(entry))],
        );
    }
    run(
        "touch",
        &[
            "-d",
            "2001-02-03T04:05:06.123456789Z",
            path(&tree.join("B")),
        ],
    );
    run(
        "touch",
        &["-d", "2002-02-03T04:05:06Z", path(&tree.join("dir"))],
    );
    run(
        "touch",
        &["-h", "-d", "2003-02-03T04:05:06Z", path(&tree.join("link"))],
    );
}

/// A disk with a small system on ext4, and an EFI partition that its fstab mounts.
fn system(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    write_files(
        &root,
        &[
            ("etc/os-release", OS),
            ("etc/fstab", FSTAB),
            ("etc/hostname", "camp\n"),
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
            (
                "var/lib/dpkg/status",
                "Package: a\nStatus: install ok installed\n",
            ),
            ("usr/bin/x", ""),
            ("efi/.keep", ""),
        ],
    );
    // As long as nobody reads it.
    let fstab = root.join("etc/fstab");
    run("touch", &["-d", "2000-01-02T03:04:05Z", path(&fstab)]);
    tree(&root);
    let options = [
        "-q",
        "-L",
        "CAMP",
        "-d",
        path(&root),
        "-E",
        "root_owner=0:0",
    ];
    let ext4 = filesystem(dir, "ext4", 60, "mkfs.ext4", &options);
    // The nanoseconds stand behind two bits of the year.
    let nanoseconds = format!("sif /tree/B mtime_extra {}", 123_456_789_u32 << 2);
    run("debugfs", &["-w", "-R", &nanoseconds, path(&ext4)]);
    let efi = filesystem(dir, "efi", 16, "mkfs.vfat", &["-n", "EFI"]);
    let script = "label: gpt\nstart=1MiB, size=16MiB, type=U\nstart=17MiB, size=60MiB, type=L\n";
    disk(dir, "system.img", 80, script, &[(1, &efi), (17, &ext4)])
}

/// A line, again and again, as long as a block: debugfs writes whole blocks into a journal.
fn block(line: &str) -> String {
    let mut text = line.repeat(4096 / line.len() + 1);
    text.truncate(4096);
    text
}

/// ext4 on a whole disk, whose journal holds what its file does not have yet: only a replay shows
/// the second text.
fn dirty(dir: &Path) -> PathBuf {
    let root = dir.join("data");
    write_files(&root, &[("file", &block("first\n"))]);
    let image = filesystem(
        dir,
        "dirty.img",
        32,
        "mkfs.ext4",
        &["-q", "-b", "4096", "-d", path(&root)],
    );
    let blocks = run("debugfs", &["-R", "bmap /file 0", path(&image)]);
    let journalled = dir.join("journalled");
    fs::write(&journalled, block("after\n")).unwrap();
    let script = dir.join("script");
    let lines = format!("jo\njw -b {} {}\njc\n", blocks.trim(), path(&journalled));
    fs::write(&script, lines).unwrap();
    run("debugfs", &["-w", "-f", path(&script), path(&image)]);
    let features = run("dumpe2fs", &["-h", path(&image)]);
    assert!(features.contains("needs_recovery"), "{features}");
    image
}

/// All that a copy must keep of a tree.
fn seen(root: &Path) -> String {
    let format = "%P %y %m %T@ %n %s %l\\n";
    let found = Command::new("find")
        .args([
            path(root),
            "-mindepth",
            "1",
            "-not",
            "-type",
            "d",
            "-printf",
            format,
        ])
        .args(["-o", "-type", "d", "-printf", "%P %y %m %T@\\n"])
        .output()
        .unwrap();
    let mut lines: Vec<_> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(lines.len() > 8, "{lines:?}");
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_system_shows_all_that_it_holds_and_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (image, data) = (system(dir), dirty(dir));
    let before = [sha256(&image), sha256(&data)];
    let at = |place: &str| format!("{}:{place}", path(&image));

    let done = bivouac("ls", &["-R", "--json", &at("/"), &at("/nope")]);
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("/nope: No such file or directory"),
        "{done:?}"
    );
    let entries: Vec<Value> = (done.stdout.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let entry = |path: &str| {
        let found = entries.iter().find(|entry| entry["path"] == path);
        found.unwrap_or_else(|| panic!("{path}: {done:?}"))
    };
    assert_eq!(entry("/tree/dir")["mode"], "1751");
    assert_eq!(entry("/tree/B")["links"], 2);
    // That we read it ourselves before is not to be seen.
    assert_eq!(entry("/etc/fstab")["accessed"], "2000-01-02T03:04:05Z");
    assert_eq!(
        entry("/tree/B")["modified"],
        "2001-02-03T04:05:06.123456789Z"
    );
    assert_eq!(entry("/tree/out")["target"], "../../../../../../tmp");
    assert_eq!(entry("/tree/\x1b[31mred")["type"], "file");
    assert_eq!(entry("/etc/passwd")["user"], "root");

    let done = bivouac("inspect", &["--json", path(&image)]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let part = &report["disks"][0]["partitions"][1];
    assert_eq!(report["disks"][0]["table"]["kind"], "gpt");
    assert_eq!(
        (&part["number"], &part["content"]["label"]),
        (&2.into(), &"CAMP".into())
    );
    assert!(part["content"]["used"].as_u64() > Some(0), "{report:#}");
    let found = &report["systems"][0];
    assert_eq!(
        (&found["name"], &found["hostname"]),
        (&"Camp 7".into(), &"camp".into())
    );
    assert_eq!(found["packages"]["installed"], 1);
    assert_eq!(found["mounts"][1]["target"], "/efi");

    // As a QEMU does that writes to it.
    let writer = fs::File::options()
        .read(true)
        .write(true)
        .open(&data)
        .unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 101,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let done = bivouac("df", &["-P", "2", "--csv", path(&image), path(&data)]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    // What is not there is no torn read: it is told, and the rest is shown.
    let place = |place: &str| format!("{}:{place}", path(&data));
    for command in ["cat", "ls"] {
        let both = bivouac(command, &[&place("/nope"), &place("/file")]);
        assert_eq!(both.code(), Some(1), "{both:?}");
        assert!(
            both.stderr.contains("error: /nope: No such file"),
            "{both:?}"
        );
        assert!(!both.stdout.is_empty(), "{both:?}");
    }
    let column = |number: usize| {
        let lines = done.stdout.lines().skip(1);
        lines
            .map(move |line| line.split(',').nth(number).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(column(2), ["vfat", "ext4", "ext4"]);
    assert_eq!(column(4), ["EFI", "CAMP", ""]);
    assert_eq!(column(11), ["false", "false", "true"]);
    let warning = "dirty.img\": being written by another process";
    assert!(done.stderr.contains(warning), "{done:?}");
    assert_eq!([sha256(&image), sha256(&data)], before);
}

#[test]
fn files_come_out_of_images_as_they_are_there_which_stay_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (image, data) = (system(dir), dirty(dir));
    let before = [sha256(&image), sha256(&data)];
    let at = |place: &str| format!("{}:{place}", path(&image));

    // Without a system, and after a replay that the image itself never sees.
    let done = bivouac(
        "cat",
        &[&at("etc/os-release"), &format!("{}:file", path(&data))],
    );
    assert_eq!(done.code(), Some(0), "{done:?}");
    let (system, file) = done.stdout.split_at(OS.len());
    assert_eq!(system, OS);
    assert_eq!(file, block("after\n"));

    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    let passwd = at("/tree/dir/absolute");
    let done = bivouac("cp", &[&at("/tree"), &passwd, &at("/nope"), path(&out)]);
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("/nope"), "{done:?}");
    assert_eq!(seen(&out.join("tree")), seen(&dir.join("root/tree")));
    let sparse = fs::metadata(out.join("tree/sparse")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&sparse);
    assert!(blocks < 1000, "{blocks} blocks");
    // A link that is named leads on, within the image.
    let copied = fs::read_to_string(out.join("absolute")).unwrap();
    assert_eq!(copied, "root:x:0:0::/root:/bin/sh\n");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);

    let done = bivouac("tail", &["-n", "1", &at("/etc/fstab")]);
    assert_eq!(
        done.stdout,
        FSTAB.lines().nth(1).unwrap().to_owned() + "\n",
        "{done:?}"
    );
    assert_eq!([sha256(&image), sha256(&data)], before);
}

#[test]
fn a_tar_stream_is_one_that_tar_understands() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image = system(dir);
    let mut copying = Bivouac::new()
        .args(["cp", &format!("{}:/tree", path(&image)), "-"])
        .command()
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    let tar = Command::new("tar")
        .args(["-xpf", "-", "-C", path(&out)])
        .stdin(copying.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(copying.wait().unwrap().success());
    assert!(tar.status.success(), "{tar:?}");
    assert_eq!(seen(&out.join("tree")), seen(&dir.join("root/tree")));
}
