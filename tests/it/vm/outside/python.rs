//! The wheel, installed by pip into a virtual environment, and the tests of the library that is in it,
//! by pytest with pytest-xdist, as Debian has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::architecture::root;
use crate::env::guests::guest;
use crate::env::residue::sha256;
use crate::env::wait;

/// Runs a command that has to succeed, and returns what it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = wait::output(command).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout
}

/// The wheel of the library and of the program under test.
fn wheel(out: &Path) -> PathBuf {
    let script = root().join("scripts/wheel");
    let made = run(Command::new(script)
        .arg(out)
        .arg(env!("CARGO_BIN_EXE_bivouac")));
    PathBuf::from(made.trim_end())
}

#[test]
fn the_wheel_brings_command_and_library_and_pytest_branches_a_machine_for_each_test() {
    let before = sha256(&guest("box.raw"));
    // Not in /tmp, whose files others may remove while this runs.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = dir.path();
    let made = ["1", "2"].map(|name| wheel(&place.join(name)));
    assert!(
        fs::read(&made[0]).unwrap() == fs::read(&made[1]).unwrap(),
        "not the same twice"
    );
    // Debian's Python, because pytest is Debian's.
    let venv = place.join("venv");
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--system-site-packages"])
        .arg(&venv));
    run(Command::new(venv.join("bin/pip"))
        .args(["--quiet", "install", "--no-index", "--no-deps"])
        .arg(&made[0]));
    let version = run(Command::new(venv.join("bin/bivouac")).arg("--version"));
    assert_eq!(version, format!("bivouac {}\n", env!("CARGO_PKG_VERSION")));
    assert!(venv.join("share/man/man1/bivouac-run.1").exists());
    let scratch = place.join("scratch");
    fs::create_dir(&scratch).unwrap();
    let told = run(Command::new(venv.join("bin/python"))
        .args([
            "-m",
            "pytest",
            "-n",
            "2",
            "-p",
            "no:cacheprovider",
            "--basetemp",
        ])
        .arg(place.join("pytest"))
        .arg(root().join("python/tests"))
        .current_dir(place)
        .env_remove("BIVOUAC")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BIVOUAC_ACCEL", "tcg")
        .env("BIVOUAC_SANDBOX", "require")
        .env("BIVOUAC_TEMPLATES_MAX", "1G")
        .env("BIVOUAC_TEST_GUESTS", guest("box.raw").parent().unwrap())
        .env("TMPDIR", &scratch)
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        ));
    println!("{told}");
    assert!(told.contains(" passed in "), "{told}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert_eq!(sha256(&guest("box.raw")), before);
}
