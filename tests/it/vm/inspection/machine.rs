//! Every inspection command on real images, each in a machine of its own; and the images are bit
//! for bit what they were.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, filesystem, run, write_files};
use crate::env::residue::sha256;

const OS: &str = "ID=core\nVERSION_ID=7\nPRETTY_NAME=\"Core 7\"\n";
const FSTAB: &str = "LABEL=CORE / ext4 defaults 0 1\nLABEL=EFI /efi vfat umask=0077 0 2\n";

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
            ("etc/hostname", "core\n"),
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
        "CORE",
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
        .args([path(root), "-mindepth", "1", "-not", "-type", "d"])
        .args(["-printf", format])
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

/// A system, and a filesystem that was not unmounted; and each is what it was in the end.
struct Images {
    dir: tempfile::TempDir,
    system: PathBuf,
    dirty: PathBuf,
    before: [String; 2],
}

/// A case, and what does it.
type Check = (&'static str, fn(&Images));

impl Images {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (system, dirty) = (system(dir.path()), dirty(dir.path()));
        Self {
            before: [sha256(&system), sha256(&dirty)],
            dir,
            system,
            dirty,
        }
    }

    /// A place in the system, as a command line names it.
    fn at(&self, place: &str) -> String {
        format!("{}:{place}", path(&self.system))
    }

    /// A place in the other.
    fn at_dirty(&self, place: &str) -> String {
        format!("{}:{place}", path(&self.dirty))
    }

    /// The tree that was put into the system.
    fn tree(&self) -> String {
        seen(&self.dir.path().join("root/tree"))
    }

    fn check(&self, checks: &[Check]) {
        let mut cases = Cases::default();
        for (name, check) in checks {
            cases.case(name, || check(self));
        }
        cases.case("the images are what they were", || {
            assert_eq!([sha256(&self.system), sha256(&self.dirty)], self.before);
        });
    }
}

fn ls_tells_all_that_is_known(images: &Images) {
    let done = bivouac(
        "ls",
        &["-R", "--json", &images.at("/"), &images.at("/nope")],
    );
    assert_eq!(done.code(), Some(1), "{done:?}");
    let said = "/nope: No such file or directory";
    assert!(done.stderr.contains(said), "{done:?}");
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
}

fn inspect_tells_what_the_image_is(images: &Images) {
    let done = bivouac("inspect", &["--json", path(&images.system)]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let part = &report["disks"][0]["partitions"][1];
    assert_eq!(report["disks"][0]["table"]["kind"], "gpt");
    assert_eq!(
        (&part["number"], &part["content"]["label"]),
        (&2.into(), &"CORE".into())
    );
    assert!(part["content"]["used"].as_u64() > Some(0), "{report:#}");
    let found = &report["systems"][0];
    assert_eq!(
        (&found["name"], &found["hostname"]),
        (&"Core 7".into(), &"core".into())
    );
    assert_eq!(found["packages"]["installed"], 1);
    assert_eq!(found["mounts"][1]["target"], "/efi");
}

/// As a QEMU does that writes to it, until what is returned is dropped.
fn as_if_written(image: &Path) -> fs::File {
    let mut options = fs::File::options();
    let writer = options.read(true).write(true).open(image).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 101,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    writer
}

fn df_tells_the_space_also_of_an_image_that_is_written(images: &Images) {
    let _writer = as_if_written(&images.dirty);
    let both = [path(&images.system), path(&images.dirty)];
    let done = bivouac("df", &[&["-P", "2", "--csv"][..], &both].concat());
    assert_eq!(done.code(), Some(0), "{done:?}");
    let column = |number: usize| {
        let lines = done.stdout.lines().skip(1);
        lines
            .map(move |line| line.split(',').nth(number).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(column(2), ["vfat", "ext4", "ext4"]);
    assert_eq!(column(4), ["EFI", "CORE", ""]);
    assert_eq!(column(11), ["false", "false", "true"]);
    let warning = "dirty.img\": being written by another process";
    assert!(done.stderr.contains(warning), "{done:?}");
}

/// It is no torn read, and the rest is shown.
fn what_is_not_there_is_told_also_of_an_image_that_is_written(images: &Images) {
    let _writer = as_if_written(&images.dirty);
    for command in ["cat", "ls"] {
        let both = [images.at_dirty("/nope"), images.at_dirty("/file")];
        let both = bivouac(command, &both.each_ref().map(String::as_str));
        assert_eq!(both.code(), Some(1), "{both:?}");
        let said = "error: /nope: No such file";
        assert!(both.stderr.contains(said), "{both:?}");
        assert!(!both.stdout.is_empty(), "{both:?}");
    }
}

#[test]
fn a_system_shows_all_that_it_holds_and_stays_as_it_was() {
    Images::new().check(&[
        ("ls", ls_tells_all_that_is_known),
        ("inspect", inspect_tells_what_the_image_is),
        ("df", df_tells_the_space_also_of_an_image_that_is_written),
        (
            "cat and ls of what is not there",
            what_is_not_there_is_told_also_of_an_image_that_is_written,
        ),
    ]);
}

/// Without a system, and after a replay that the image itself never sees.
fn cat_shows_what_a_journal_holds(images: &Images) {
    let done = bivouac(
        "cat",
        &[&images.at("etc/os-release"), &images.at_dirty("file")],
    );
    assert_eq!(done.code(), Some(0), "{done:?}");
    let (system, file) = done.stdout.split_at(OS.len());
    assert_eq!(system, OS);
    assert_eq!(file, block("after\n"));
}

fn cp_copies_all_of_a_tree(images: &Images) {
    let out = images.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let places = ["/tree", "/tree/dir/absolute", "/nope"].map(|place| images.at(place));
    let [tree, passwd, nope] = places.each_ref().map(String::as_str);
    let done = bivouac("cp", &[tree, passwd, nope, path(&out)]);
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("/nope") && done.stderr.contains("tree/fifo"),
        "{done:?}"
    );
    let data = images
        .tree()
        .replace("fifo p 640 946782245.0000000000 1 0 \n", "");
    assert_eq!(
        seen(&out.join("tree")),
        data.replace("dir d 1751", "dir d 751")
    );
    let sparse = fs::metadata(out.join("tree/sparse")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&sparse);
    assert!(blocks < 1000, "{blocks} blocks");
    // A link that is named leads on, within the image.
    let copied = fs::read_to_string(out.join("absolute")).unwrap();
    assert_eq!(copied, "root:x:0:0::/root:/bin/sh\n");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
}

fn tail_shows_the_end(images: &Images) {
    let done = bivouac("tail", &["-n", "1", &images.at("/etc/fstab")]);
    let last = FSTAB.lines().nth(1).unwrap().to_owned() + "\n";
    assert_eq!(done.stdout, last, "{done:?}");
}

fn cp_writes_a_stream_that_tar_understands(images: &Images) {
    let stream = images.dir.path().join("stream.tar");
    let copied = Bivouac::new()
        .args(["cp", &images.at("/tree"), "-"])
        .command()
        .stdout(fs::File::create(&stream).unwrap())
        .status();
    assert!(copied.unwrap().success());
    let out = images.dir.path().join("untarred");
    fs::create_dir(&out).unwrap();
    run("tar", &["-xpf", path(&stream), "-C", path(&out)]);
    assert_eq!(seen(&out.join("tree")), images.tree());
    // The names are those that tar gives.
    let again = format!("tar -C {} -c tree | tar -t | sort", path(&out));
    let names = format!("tar -tf {} | sort", path(&stream));
    assert_eq!(run("sh", &["-c", &names]), run("sh", &["-c", &again]));
}

#[test]
fn files_come_out_of_images_as_they_are_there_which_stay_as_they_were() {
    Images::new().check(&[
        ("cat", cat_shows_what_a_journal_holds),
        ("cp to a directory", cp_copies_all_of_a_tree),
        ("cp to a stream", cp_writes_a_stream_that_tar_understands),
        ("tail", tail_shows_the_end),
    ]);
}
