//! Where overlays go: real filesystems, some in a namespace.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bivouac::host::scratch::{Scratch, Source, TempFileMethod};
use bivouac::linux::memfd;

use super::Namespace;

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
        format!("{error}\n{}", error.mend().expect("a mend"))
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
    name another with --overlay-dir, or leave it out for /var/tmp
    ");
}

/// What `doctor` says about `$HERE/overlays`, which the script has made, and then what is in it.
fn finding(script: &str) -> String {
    let doctor = r#""$BIVOUAC" doctor --json --qemu nowhere --overlay-dir "$HERE/overlays" || true
        test -z "$(ls -A overlays)" || echo 'something is left'"#;
    Namespace::new().finding("overlay", &format!("mkdir overlays\n{script} {doctor}"))
}

#[test]
fn a_directory_of_somebody_else_may_not_be_written_to() {
    insta::assert_snapshot!(finding("$STRANGER"), @r"
    fail: the overlay directory HERE/overlays is not writable
    name another with --overlay-dir, or leave it out for /var/tmp
    ");
}

#[test]
fn a_read_only_filesystem_is_told() {
    insta::assert_snapshot!(finding("mount -t tmpfs -o ro none overlays;"), @r"
    fail: the overlay directory HERE/overlays is on a read-only filesystem
    name another with --overlay-dir, or leave it out for /var/tmp
    ");
}

#[test]
fn a_tmpfs_is_memory_and_its_size_is_told() {
    insta::assert_snapshot!(finding("mount -t tmpfs -o size=48m none overlays;"), @r"
    warn: what the guest writes takes memory: HERE/overlays is a tmpfs of 48 MiB, 48 MiB free
    `--overlay-dir /var/tmp`, if that is a disk
    ");
}

/// A POSIX message queue filesystem has files and directories, and no O_TMPFILE.
#[test]
fn where_there_is_no_o_tmpfile_the_file_is_unlinked_at_once() {
    insta::assert_snapshot!(finding("mount -t mqueue none overlays;"), @r"
    warn: overlays go to HERE/overlays (0x19800202, 0 B free); they have a name for an instant, for it lacks O_TMPFILE; that is little space
    name another with --overlay-dir DIR
    ");
}

#[test]
fn a_full_filesystem_is_told_in_the_kernels_words() {
    insta::assert_snapshot!(finding("mount -t tmpfs -o nr_inodes=1 none overlays;"), @r"
    fail: no overlay can be created in HERE/overlays: No space left on device (os error 28)
    name another with --overlay-dir, or leave it out for /var/tmp
    ");
}

#[test]
fn this_hosts_var_tmp_takes_unnamed_files_and_knows_its_space() {
    let scratch = Scratch::choose_from(None, None).expect("a scratch");
    assert_eq!(scratch.method(), TempFileMethod::Unnamed);
    let space = scratch.space().expect("its space");
    assert!(space.free <= space.size && space.size > 0, "{space:?}");
}

#[test]
fn a_memory_file_has_no_name_and_is_not_inherited() {
    let file = memfd::create(c"overlay").expect("a file");
    assert_eq!(file.metadata().expect("its metadata").nlink(), 0);
    let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).expect("its flags");
    assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
}
