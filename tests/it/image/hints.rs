//! The hints of a refusal that need no other program to be followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Images, refused_as_nobody};

#[test]
fn flags_that_are_printed_as_hints_are_accepted_as_they_stand() {
    let images = Images::new();
    images.qcow2("disk.img");
    for words in [&["disk.img"][..], &["disk.img", "--format", "vdi"]] {
        let hint = images.hint(words);
        let program = env!("CARGO_BIN_EXE_bivouac");
        images.shell(&format!("{program} chain disk.img {hint}"));
    }
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
