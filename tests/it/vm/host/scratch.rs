//! What `doctor` says of overlay directories on filesystems of every sort.

use bivouac::host::scratch::{Scratch, TempFileMethod};

use super::Namespace;

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
    name another with --overlay-dir, or leave it out to use $TMPDIR or /var/tmp
    ");
}

#[test]
fn a_read_only_filesystem_is_told() {
    insta::assert_snapshot!(finding("mount -t tmpfs -o ro none overlays;"), @r"
    fail: the overlay directory HERE/overlays is on a read-only filesystem
    name another with --overlay-dir, or leave it out to use $TMPDIR or /var/tmp
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
    warn: overlays go to HERE/overlays (0x19800202, 0 B free); they have a name briefly (the filesystem lacks O_TMPFILE); that is not much space
    name another with --overlay-dir DIR
    ");
}

#[test]
fn a_full_filesystem_is_told_in_the_kernels_words() {
    insta::assert_snapshot!(finding("mount -t tmpfs -o nr_inodes=1 none overlays;"), @r"
    fail: no overlay can be created in HERE/overlays: No space left on device (os error 28)
    name another with --overlay-dir, or leave it out to use $TMPDIR or /var/tmp
    ");
}

#[test]
fn this_hosts_var_tmp_takes_unnamed_files_and_knows_its_space() {
    let scratch = Scratch::choose_from(None, None).expect("a scratch");
    assert_eq!(scratch.method(), TempFileMethod::Unnamed);
    let space = scratch.space().expect("its space");
    assert!(space.free <= space.size && space.size > 0, "{space:?}");
}
