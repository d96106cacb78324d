//! The files that a run writes for its user: never over an image.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `bivouac run disk.raw` in `dir`, with a QEMU that does nothing but end.
fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bivouac"))
        .args(["run", "--accel", "tcg", "--qemu", "true", "disk.raw"])
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn with_a_disk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("disk.raw"), [7; 4096]).unwrap();
    dir
}

#[test]
fn an_image_named_as_console_log_or_report_is_refused_and_whole() {
    let dir = with_a_disk();
    let disk = dir.path().join("disk.raw");
    fs::hard_link(&disk, dir.path().join("link")).unwrap();
    for option in ["--console-log", "--report"] {
        for name in ["disk.raw", "./disk.raw", "link"] {
            let output = run(dir.path(), &[option, name]);
            assert_eq!(output.status.code(), Some(125));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("would be overwritten"), "{said}");
            assert!(
                said.contains(&format!("hint: another file for {option}")),
                "{said}"
            );
            assert_eq!(fs::read(&disk).unwrap(), [7; 4096]);
        }
    }
}

#[test]
fn a_lower_layer_named_as_console_log_is_refused_and_whole() {
    let dir = with_a_disk();
    let made = Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "disk.raw",
            "top.qcow2",
        ])
        .current_dir(dir.path())
        .status();
    assert!(made.unwrap().success());
    let output = run(
        dir.path(),
        &["--disk", "top.qcow2", "--console-log", "top.qcow2"],
    );
    assert_eq!(output.status.code(), Some(125));
    assert!(fs::metadata(dir.path().join("top.qcow2")).unwrap().len() > 0);
    assert_eq!(fs::read(dir.path().join("disk.raw")).unwrap(), [7; 4096]);
}

#[test]
fn a_report_is_written_over_an_earlier_one_and_over_an_empty_file() {
    let dir = with_a_disk();
    let report = dir.path().join("report.json");
    fs::write(&report, "").unwrap();
    for _ in 0..2 {
        let output = run(dir.path(), &["--dry-run", "--report", "report.json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = fs::read(&report).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["verdict"]["end"], "planned");
    }
}

#[test]
fn a_pipe_gets_the_final_report_alone() {
    let dir = with_a_disk();
    let output = run(dir.path(), &["--report", "/dev/stdout"]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["verdict"]["end"], "failed");
    assert_eq!(document["verdict"]["status"], 125);
}

#[test]
fn a_dry_run_leaves_the_console_log_as_it_is() {
    let dir = with_a_disk();
    let log = dir.path().join("console.txt");
    fs::write(&log, "of another run\n").unwrap();
    let output = run(dir.path(), &["--dry-run", "--console-log", "console.txt"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&log).unwrap(), "of another run\n");
}

#[test]
fn a_kernel_or_a_report_named_as_console_log_is_refused_and_whole() {
    let dir = with_a_disk();
    for name in ["kernel", "initrd"] {
        fs::write(dir.path().join(name), "precious").unwrap();
    }
    let kernel = [
        "--kernel", "kernel", "--initrd", "initrd", "--report", "report",
    ];
    for log in ["kernel", "./initrd", "report"] {
        let output = run(dir.path(), &[&kernel[..], &["--console-log", log]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains("would be overwritten"), "{said}");
    }
    for name in ["kernel", "initrd"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"precious");
    }
}
