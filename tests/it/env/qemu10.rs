//! QEMU 10, besides the one that is installed.

use std::path::PathBuf;

/// The program, a script that starts the emulator with libraries of its own.
pub fn program() -> String {
    std::env::var("BIVOUAC_TEST_QEMU10").expect(
        "BIVOUAC_TEST_QEMU10 names QEMU 10: scripts/test sets it, scripts/qemu-trixie makes it",
    )
}

/// The options by which bivouac uses it: a script needs more of the sandbox than a program.
pub fn options() -> [String; 4] {
    let program = program();
    let directory: PathBuf = PathBuf::from(&program).parent().unwrap().into();
    let directory = directory.to_str().unwrap().to_owned();
    let [qemu, read] = ["--qemu", "--sandbox-read"].map(str::to_owned);
    [qemu, program, read, directory]
}
