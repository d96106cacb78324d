//! `--warm` of inspections: the appliance is restored with the image in it, and answers as one that has
//! just looked at it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{flip, only_template, templates};
use crate::env::bivouac::{Bivouac, Finished, children};
use crate::env::filesystems::{disk, filesystem, tree};
use crate::env::guests::guest;
use crate::env::images::LoopDevice;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

const CAT: [&str; 2] = ["cat", "IMAGE:/etc/hostname"];

/// `IMAGE` stands for the image.
fn inspection(home: &Path, warm: bool, image: &Path, words: &[&str]) -> Bivouac {
    let image = image.to_str().unwrap();
    let words = words.iter().map(|word| word.replace("IMAGE", image));
    let words: Vec<_> = words.collect();
    let (command, rest) = words.split_first().unwrap();
    Bivouac::new()
        .args([command.as_str(), "--memory", "256M"])
        .args(warm.then_some("--warm"))
        .reporting()
        .args(rest)
        .env("XDG_CACHE_HOME", home)
}

/// The answer of an appliance that was restored with the image in it.
fn kept(home: &Path, image: &Path, words: &[&str]) -> Finished {
    let finished = inspection(home, true, image, words).output();
    let inspected = finished.inspected();
    let used = inspected["template"].as_str();
    let key = used.map(|path| fs::read_to_string(Path::new(path).join("manifest")).unwrap());
    let is_kept = key.is_some_and(|key| key.contains("\"inspection\""));
    assert!(
        is_kept || inspected["phases"]["built"].is_number(),
        "{finished:?}"
    );
    finished
}

fn cat(home: &Path, image: &Path, answer: &str) -> Finished {
    let finished = kept(home, image, &CAT);
    assert_eq!(finished.stdout, answer, "{finished:?}");
    finished
}

fn copy_of_box(dir: &Path) -> PathBuf {
    let image = dir.join("image.qcow2");
    fs::copy(guest("box.qcow2"), &image).unwrap();
    image
}

/// Two systems, and a filesystem with none.
fn several(dir: &Path) -> PathBuf {
    let part = |name: &str, files: &[(&str, &str)]| {
        let files = tree(dir, &format!("{name}-files"), files);
        let args = ["-q", "-d", files.to_str().unwrap()];
        filesystem(dir, name, 8, "mkfs.ext4", &args)
    };
    let one = part(
        "one",
        &[("etc/os-release", "ID=one\n"), ("etc/hostname", "one\n")],
    );
    let other = part(
        "other",
        &[
            ("etc/os-release", "ID=other\n"),
            ("etc/hostname", "other\n"),
        ],
    );
    let data = part("data", &[("file", "data\n")]);
    let table =
        "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=8MiB\nstart=17MiB, size=8MiB\n";
    disk(
        dir,
        "several",
        32,
        table,
        &[(1, &one), (9, &other), (17, &data)],
    )
}

#[test]
fn a_kept_image_answers_as_one_that_was_just_opened() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (home, image) = (dir.path(), copy_of_box(dir.path()));
    let before = sha256(&image);
    let commands: [&[&str]; 7] = [
        &CAT,
        &["ls", "-lR", "IMAGE:/etc"],
        &["df", "IMAGE"],
        &["inspect", "--json", "IMAGE"],
        &["cp", "IMAGE:/etc", "-"],
        &[
            "chroot",
            "IMAGE",
            "--",
            "sh",
            "-c",
            "echo x >/etc/hostname; cat /etc/hostname; ls /proc/1",
        ],
        &[
            "mount",
            "IMAGE",
            "--",
            "sh",
            "-c",
            "cat $BIVOUAC_MOUNT/etc/hostname",
        ],
    ];
    let first = cat(home, &image, "box\n");
    assert!(
        first.inspected()["phases"]["built"].is_number(),
        "{first:?}"
    );
    for words in commands {
        let fresh = inspection(home, false, &image, words).output();
        let kept = kept(home, &image, words);
        assert!(kept.inspected()["phases"]["built"].is_null(), "{kept:?}");
        assert_eq!(fresh.code(), Some(0), "{fresh:?}");
        assert_eq!(kept.code(), Some(0), "{kept:?}");
        // What `ls` says of processes differs from one appliance to the next.
        let lines = |finished: &Finished| finished.stdout.lines().count();
        match words[0] {
            "chroot" => assert!(lines(&kept) > 10, "{kept:?}"),
            _ => assert_eq!(fresh.stdout, kept.stdout),
        }
    }
    // What was written to it is in no template.
    cat(home, &image, "box\n");
    assert_eq!(sha256(&image), before);
    let listed = Bivouac::new()
        .args(["template", "ls"])
        .env("XDG_CACHE_HOME", home);
    let listed = listed.output().stdout;
    assert_eq!(
        listed.matches("inspection image.qcow2, 256 MiB").count(),
        1,
        "{listed}"
    );
}

#[test]
fn another_root_than_the_mounted_one_and_none_at_all_are_mounted_when_they_are_asked_for() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (home, image) = (dir.path(), several(dir.path()));
    // Which is meant is not clear, so that none is mounted.
    let unclear = kept(home, &image, &CAT);
    assert_eq!(unclear.code(), Some(125), "{unclear:?}");
    for (root, answer) in [("1", "one\n"), ("2", "other\n"), ("1", "one\n")] {
        let words = ["cat", "--root", root, "IMAGE:/etc/hostname"];
        let found = kept(home, &image, &words);
        assert!(found.inspected()["phases"]["built"].is_null(), "{found:?}");
        assert_eq!(found.stdout, answer, "{found:?}");
    }
    only_template(home);
    // A system, and a filesystem beside it: the mounted root gives way to that.
    let table = "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=8MiB\n";
    let [one, data] = ["one", "data"].map(|name| home.join(name));
    let image = disk(home, "beside", 24, table, &[(1, &one), (9, &data)]);
    assert_eq!(kept(home, &image, &CAT).stdout, "one\n");
    let words = ["ls", "--root", "/dev/vda2", "IMAGE:/"];
    let found = kept(home, &image, &words);
    assert!(found.stdout.contains("file"), "{found:?}");
}

#[test]
fn an_image_that_changed_is_opened_again_and_what_may_change_unseen_is_not_kept() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = dir.path();
    let files = tree(
        home,
        "files",
        &[
            ("etc/os-release", "ID=a\n"),
            ("etc/hostname", "first-name\n"),
        ],
    );
    let args = ["-q", "-d", files.to_str().unwrap()];
    let image = filesystem(home, "raw", 8, "mkfs.ext4", &args);
    cat(home, &image, "first-name\n");
    let bytes = fs::read(&image).unwrap();
    let at = bytes
        .windows(10)
        .position(|part| part == b"first-name")
        .unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(b"other", at as u64).unwrap();
    let changed = cat(home, &image, "other-name\n");
    assert!(
        changed.inspected()["phases"]["built"].is_number(),
        "{changed:?}"
    );

    let device = LoopDevice::of(&image);
    let opened = inspection(home, true, device.path(), &CAT).output();
    assert_eq!(opened.stdout, "other-name\n", "{opened:?}");
    let word = "is a block device, whose changes leave no trace; the image is looked at again";
    assert!(opened.stderr.contains(word), "{opened:?}");

    let refused = inspection(
        home,
        true,
        &image,
        &["cat", "--key", "key:x", "IMAGE:/etc/hostname"],
    );
    let refused = refused.output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot be used with"),
        "{refused:?}"
    );
}

#[test]
fn whoever_is_killed_while_an_image_is_kept_leaves_nothing_that_is_used() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (home, image) = (dir.path(), copy_of_box(dir.path()));
    let before = sha256(&image);
    for wait in [20, 500, 1100, 1700, 2300] {
        let running = inspection(home, true, &image, &CAT).start();
        std::thread::sleep(Duration::from_millis(wait));
        let started = children(running.pid());
        running.signal(Signal::SIGKILL);
        running.wait();
        soon(&format!("its processes are gone after {wait} ms"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        let names = fs::read_dir(templates(home))
            .into_iter()
            .flatten()
            .flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        if names.filter(|name| !name.starts_with('.')).count() > 0 {
            let whole = cat(home, &image, "box\n");
            assert!(whole.inspected()["phases"]["built"].is_null(), "{whole:?}");
            fs::remove_dir_all(templates(home)).unwrap();
        }
    }
    cat(home, &image, "box\n");

    // One that is damaged is as good as none.
    let state = only_template(home).join("state");
    flip(&state, fs::metadata(&state).unwrap().len() / 2);
    let finished = inspection(home, true, &image, &CAT).output();
    assert_eq!(finished.stdout, "box\n", "{finished:?}");
    assert!(finished.stderr.contains("damaged"), "{finished:?}");
    assert_eq!(sha256(&image), before);
}
