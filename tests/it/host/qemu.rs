//! Finding QEMU, and asking it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivouac::host::probe;
use bivouac::host::qemu::{self, QemuError};
use bivouac::sandbox::{Mode, Settings};

use super::write_script;

/// A directory with programs of these names, each a script of this text.
pub fn programs(names: &[&str], text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in names {
        write_script(&directory.path().join(name), text);
    }
    directory
}

fn find(explicit: Option<&str>, search_path: &Path, hidden: &Path) -> Result<PathBuf, QemuError> {
    qemu::find_in(explicit.map(Path::new), search_path.as_os_str(), hidden)
}

#[test]
fn the_emulator_in_path_comes_before_the_hidden_one() {
    let bin = programs(&["qemu-system-x86_64", "qemu-kvm"], "");
    let hidden = bin.path().join("qemu-kvm");
    let found = find(None, bin.path(), &hidden).expect("a QEMU");
    assert_eq!(found, bin.path().join("qemu-system-x86_64"));
    let found = find(None, Path::new("/nowhere"), &hidden).expect("a QEMU");
    assert_eq!(found, hidden);
}

#[test]
fn a_name_is_looked_up_in_path_and_a_path_is_taken_as_it_is() {
    let bin = programs(&["my-qemu"], "");
    let path = bin.path().join("my-qemu");
    let nowhere = Path::new("/nowhere");
    assert_eq!(
        find(Some("my-qemu"), bin.path(), nowhere).expect("a QEMU"),
        path
    );
    assert_eq!(find(path.to_str(), nowhere, nowhere).expect("a QEMU"), path);
}

#[test]
fn a_file_in_path_that_may_not_be_executed_is_passed_over() {
    let first = programs(&["qemu-system-x86_64"], "");
    let path = first.path().join("qemu-system-x86_64");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its mode");
    let second = programs(&["qemu-system-x86_64"], "");
    let both = std::env::join_paths([first.path(), second.path()]).expect("a PATH");
    let found = qemu::find_in(None, &both, Path::new("/nowhere")).expect("a QEMU");
    assert_eq!(found, second.path().join("qemu-system-x86_64"));
}

#[test]
fn each_way_of_not_finding_it_says_what_was_looked_for() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let explicit = [
        None,
        Some("no-qemu"),
        Some("/no/qemu"),
        file.path().to_str(),
    ];
    let lines: Vec<String> = explicit
        .into_iter()
        .map(|explicit| {
            let error = qemu::find_in(explicit.map(Path::new), OsStr::new(""), Path::new("/no"))
                .expect_err("nothing is there");
            assert!(error.hint().is_some());
            error.to_string()
        })
        .collect();
    let lines = lines
        .join("\n")
        .replace(&file.path().display().to_string(), "FILE");
    insta::assert_snapshot!(lines, @r"
    QEMU was not found: no qemu-system-x86_64 in PATH, no /usr/libexec/qemu-kvm
    QEMU was not found: no no-qemu in PATH
    QEMU was not found: /no/qemu does not exist
    FILE is not executable
    ");
}

#[test]
fn a_program_that_ends_at_once_is_quoted() {
    let bin = programs(&["qemu"], "echo 'qemu: no such option' >&2; exit 1");
    let error = probe::ask(&bin.path().join("qemu"), &unconfined()).expect_err("it is no QEMU");
    let text = error
        .to_string()
        .replace(&bin.path().display().to_string(), "BIN");
    insta::assert_snapshot!(text, @"BIN/qemu does not start: qemu: no such option");
}

#[test]
fn a_program_that_says_something_else_than_qmp_is_told() {
    let bin = programs(&["qemu"], "echo hello >&0; sleep 60");
    let error = probe::ask(&bin.path().join("qemu"), &unconfined()).expect_err("it is no QEMU");
    let text = error
        .to_string()
        .replace(&bin.path().display().to_string(), "BIN");
    insta::assert_snapshot!(text, @r#"BIN/qemu does not start: QEMU sent something that is not QMP: "hello""#);
}

#[test]
fn a_program_that_says_nothing_is_given_up_and_ended() {
    let bin = programs(&["qemu"], "echo $$ >\"$0.pid\"; exec sleep 600");
    let qemu = bin.path().join("qemu");
    let error = probe::ask_within(&qemu, Duration::from_millis(1500), &unconfined())
        .expect_err("it is silent");
    let text = error
        .to_string()
        .replace(&bin.path().display().to_string(), "BIN");
    insta::assert_snapshot!(text, @"BIN/qemu did not answer within 1.5 s");
    let pid = fs::read_to_string(bin.path().join("qemu.pid")).expect("its number");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// Shell scripts may not start other programs in the sandbox.
fn unconfined() -> Settings {
    Settings {
        mode: Mode::Off,
        read: Vec::new(),
    }
}
