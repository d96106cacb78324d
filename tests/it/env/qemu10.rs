//! QEMU 10, besides the one that is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, a script that starts the emulator with libraries of its own.
pub fn program() -> String {
    std::env::var("BIVOUAC_TEST_QEMU10").expect(
        "BIVOUAC_TEST_QEMU10 names QEMU 10: scripts/test sets it, scripts/qemu-trixie makes it",
    )
}

/// A copy in `directory` that every user can run, whoever owns the original; its program.
pub fn copy_to(directory: &Path) -> PathBuf {
    let program = PathBuf::from(program());
    let original = program.parent().unwrap();
    let copy = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(original)
        .arg(directory)
        .status();
    assert!(copy.unwrap().success());
    let script = fs::read_to_string(&program).unwrap();
    let copied = script.replace(original.to_str().unwrap(), directory.to_str().unwrap());
    assert_ne!(script, copied);
    let program = directory.join(program.file_name().unwrap());
    fs::write(&program, copied).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// The options by which bivouac uses it: a script needs more of the sandbox than a program.
pub fn options() -> [String; 4] {
    let program = program();
    let directory: PathBuf = PathBuf::from(&program).parent().unwrap().into();
    let directory = directory.to_str().unwrap().to_owned();
    let [qemu, read] = ["--qemu", "--sandbox-read"].map(str::to_owned);
    [qemu, program, read, directory]
}
