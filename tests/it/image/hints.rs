//! The hints of a refusal that need no other program to be followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Images, refused_as_nobody};

#[test]
fn flags_that_are_printed_as_hints_are_accepted_as_they_stand() {
    let images = Images::new();
    images.qcow2("disk.raw");
    for words in [&["disk.raw"][..], &["disk.raw", "--format", "vdi"]] {
        let hint = images.hint(words);
        let program = env!("CARGO_BIN_EXE_bivouac");
        images.shell(&format!("{program} chain disk.raw {hint}"));
    }
}

#[test]
fn the_hint_for_a_further_disk_is_an_option_of_that_disk() {
    let images = Images::new();
    images.raw("image.raw");
    images.qcow2("a,disk.raw");
    let run = |disk: &str| {
        let program = env!("CARGO_BIN_EXE_bivouac");
        let line = format!(
            "{program} run --dry-run --overlay memory --accel tcg --qemu /bin/true {disk} image.raw"
        );
        images.answer(images.command(["sh", "-c", &line]))
    };
    for disk in ["--disk a,,disk.raw", "--disk a,,disk.raw,format=vdi"] {
        let refused = run(disk);
        assert_eq!(refused.status, 125, "{}", refused.stderr);
        let (_, hint) = refused.stderr.split_once("hint: ").expect("a hint");
        assert!(
            hint.starts_with("--disk a,,disk.raw,format=qcow2"),
            "{hint}"
        );
        let (hint, _) = hint.split_once(['#', '\n']).expect("a line");
        let accepted = run(hint);
        assert_eq!(accepted.status, 0, "{}", accepted.stderr);
    }
    images.shell("gzip -c image.raw > packed");
    insta::assert_snapshot!("packed_disk", run("--disk packed").stderr);
    insta::assert_snapshot!("packed_cdrom", run("--cdrom packed").stderr);
    assert_eq!(run("--disk packed,format=raw").status, 0);
}

#[test]
fn a_file_that_may_not_be_read_names_who_denies_it() {
    let images = Images::new();
    fs::set_permissions(images.dir(), fs::Permissions::from_mode(0o755)).expect("opened");
    images.raw("base.raw");
    images.recording("top.qcow2", "base.raw", Some("raw"));
    fs::set_permissions(images.path("base.raw"), fs::Permissions::from_mode(0o000))
        .expect("closed");
    insta::assert_snapshot!("denied_file", refused_as_nobody(&images, "top.qcow2"));

    fs::create_dir(images.path("closed")).expect("a directory");
    images.raw("closed/base.raw");
    images.recording("top.qcow2", "closed/base.raw", Some("raw"));
    fs::set_permissions(images.path("closed"), fs::Permissions::from_mode(0o644)).expect("closed");
    insta::assert_snapshot!("denied_directory", refused_as_nobody(&images, "top.qcow2"));
    fs::set_permissions(images.path("closed"), fs::Permissions::from_mode(0o755)).expect("opened");
}
