//! What is printed, and where that fails.

use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::env::bivouac::Bivouac;

/// A raw image, and a file that may be executed as QEMU is.
fn image(dir: &Path) -> PathBuf {
    let image = dir.join("disk.raw");
    std::fs::write(&image, [0; 4096]).unwrap();
    image
}

#[test]
fn an_emulated_guest_lacks_what_emulation_is_slow_with_unless_a_model_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let cpu = |options: &[&str]| {
        let words = ["run", "--dry-run", "--qemu", "true", "--accel", "tcg"];
        let output = Bivouac::new().args(words).args(options).arg(&image);
        let plan = output.output().stdout;
        let after = plan.split_once("-cpu ").unwrap().1;
        after.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(cpu(&[]), "max,erms=off,fsrm=off,la57=off,smap=off,pku=off");
    assert_eq!(cpu(&["--cpu", "max"]), "max");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let (chain, completions) = (["chain", "IMAGE"], ["completions", "bash"]);
    let plan = ["run", "--dry-run", "--qemu", "true", "IMAGE"];
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&chain[..], &completions, &plan] {
        let image = image(dir.path()).into_os_string();
        let words = arguments.iter().map(|word| match *word {
            "IMAGE" => image.clone(),
            word => word.into(),
        });
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = Bivouac::new().args(words).command();
        command.stdout(full.unwrap()).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("writing standard output: No space left on device"),
            "{said}"
        );
    }
}

#[test]
fn no_control_character_out_of_a_name_reaches_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let run = Bivouac::run()
        .args(["--qemu", "true"])
        .args(["--console-log", "/nowhere/\u{1b}]0;title\u{7}\r.log"])
        .arg(image(dir.path()));
    let finished = run.output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let controls = |c: char| c.is_control() && c != '\n';
    assert!(!finished.stderr.contains(controls), "{finished:?}");
    assert!(
        finished.stderr.contains("\\u{1b}]0;title\\u{7}\\r.log"),
        "{finished:?}"
    );
}

#[test]
fn a_report_goes_through_no_link_of_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let (link, target) = (dir.path().join("link"), dir.path().join("target"));
    symlink(&target, &link).unwrap();
    let run = || {
        let run = Bivouac::run().arg("--report").arg(&link);
        run.arg(dir.path().join("missing.raw")).output()
    };
    if nix::unistd::geteuid().is_root() {
        lchown(&link, Some(65534), None).unwrap();
        let finished = run();
        assert!(finished.stderr.contains("--report"), "{finished:?}");
        assert!(!target.exists());
        lchown(&link, Some(0), None).unwrap();
    }
    // The user's own is meant.
    run();
    let first = std::fs::read_to_string(&target).unwrap();
    assert!(first.starts_with("{\n  \"bivouac\": "), "{first}");
    // A file with something else in it keeps that.
    std::fs::write(&target, "precious").unwrap();
    run();
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}
