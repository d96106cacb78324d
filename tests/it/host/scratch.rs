//! Where overlays go: real filesystems, some in a namespace.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bivouac::host::scratch::{Scratch, Source};

#[test]
fn a_scratch_file_has_no_name_is_ours_alone_and_is_not_inherited() {
    let directory = tempfile::tempdir().expect("a directory");
    let scratch = Scratch::choose_from(Some(directory.path()), None).expect("a scratch");
    let mut file = scratch.unnamed_file().expect("a file");
    let metadata = file.metadata().expect("its metadata");
    assert_eq!(
        (metadata.nlink(), metadata.mode() & 0o7777, metadata.len()),
        (0, 0o600, 0)
    );
    let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).expect("its flags");
    assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
    file.write_all(b"written").expect("a write");
    file.rewind().expect("a seek");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("a read");
    assert_eq!(text, "written");
    assert_eq!(
        fs::read_dir(directory.path())
            .expect("the directory")
            .count(),
        0
    );
}

#[test]
fn the_flag_comes_before_tmpdir_and_tmpdir_before_var_tmp() {
    let (flag, variable) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let choose = |explicit: Option<&Path>, variable: Option<&Path>| {
        let scratch = Scratch::choose_from(explicit, variable.map(|v| v.as_os_str().to_owned()));
        let scratch = scratch.expect("a scratch");
        (scratch.directory().to_owned(), scratch.chosen_by())
    };
    let (flag, variable) = (flag.path(), variable.path());
    assert_eq!(
        choose(Some(flag), Some(variable)),
        (flag.to_owned(), Source::Flag)
    );
    assert_eq!(
        choose(None, Some(variable)),
        (variable.to_owned(), Source::Environment)
    );
    assert_eq!(choose(None, None), ("/var/tmp".into(), Source::Default));
    assert_eq!(
        choose(None, Some(Path::new(""))),
        ("/var/tmp".into(), Source::Default)
    );
}

#[test]
fn each_directory_that_takes_no_overlay_says_why_and_what_helps() {
    let tell = |explicit: Option<&str>, variable: Option<&str>| {
        let error = Scratch::choose_from(explicit.map(Path::new), variable.map(Into::into))
            .expect_err("it takes none");
        format!("{error}\n{}", error.hint().expect("a hint"))
    };
    insta::assert_snapshot!(tell(Some("/no/where"), None), @r"
    the overlay directory /no/where does not exist
    `mkdir /no/where`, or name another with --overlay-dir
    ");
    insta::assert_snapshot!(tell(None, Some("/no/where")), @r"
    the overlay directory /no/where does not exist
    it is the value of $TMPDIR: name another with --overlay-dir
    ");
    insta::assert_snapshot!(tell(Some("/dev/null"), None), @r"
    the overlay directory /dev/null is not a directory
    name another with --overlay-dir, or leave it out to use $TMPDIR or /var/tmp
    ");
}

#[test]
fn a_memory_file_has_no_name_and_is_not_inherited() {
    let file = bivouac::linux::memfd::create(c"overlay").expect("a file");
    assert_eq!(file.metadata().expect("its metadata").nlink(), 0);
    let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).expect("its flags");
    assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
}
