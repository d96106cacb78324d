//! A mistake in the arguments: its own message, status 125, and nothing started.

use std::fs;
use std::process::Stdio;

use super::bivouac;
use crate::env::cases::Cases;
use crate::env::script::write_script;

/// Mistakes, by the name of their snapshot. `IMAGE` stands for an image that is fine.
const MISTAKES: [(&str, &[&str]); 53] = [
    ("no_command", &[]),
    ("unknown_command", &["rum", "IMAGE"]),
    ("unknown_flag", &["run", "--memroy", "1G", "IMAGE"]),
    ("no_image", &["run"]),
    ("session_no_image", &["session"]),
    (
        "session_warm_inspect",
        &["session", "--inspect", "--warm", "IMAGE"],
    ),
    (
        "session_inspect_net",
        &["session", "--inspect", "--net", "user", "IMAGE"],
    ),
    ("mcp_no_image", &["mcp"]),
    ("mcp_missing_image", &["mcp", "missing.qcow2"]),
    ("missing_image", &["run", "missing.qcow2"]),
    ("two_images", &["run", "IMAGE", "IMAGE"]),
    ("format", &["run", "--format", "qcow3", "IMAGE"]),
    ("backing", &["run", "--backing", "base.img", "IMAGE"]),
    (
        "backing_format",
        &["run", "--backing", "xfs:base.img", "IMAGE"],
    ),
    ("memory_word", &["run", "--memory", "lots", "IMAGE"]),
    ("memory_little", &["run", "--memory", "1", "IMAGE"]),
    ("cpus", &["run", "--cpus", "0", "IMAGE"]),
    ("accel", &["run", "--accel", "xen", "IMAGE"]),
    (
        "disk_option",
        &["run", "--disk", "a.img,cache=none", "IMAGE"],
    ),
    ("disk_serial", &["run", "--disk", "a.img,serial=", "IMAGE"]),
    ("disk_missing", &["run", "--disk", "missing.img", "IMAGE"]),
    ("initrd_alone", &["run", "--initrd", "initrd", "IMAGE"]),
    ("kernel_missing", &["run", "--kernel", "missing", "IMAGE"]),
    (
        "firmware_missing",
        &["run", "--firmware", "missing.fd", "IMAGE"],
    ),
    ("bus", &["run", "--bus", "usb", "IMAGE"]),
    (
        "bus_machine",
        &["run", "--bus", "ide", "--machine", "q35", "IMAGE"],
    ),
    ("net", &["run", "--net", "bridge", "IMAGE"]),
    ("publish_port", &["run", "--publish", "80:70000", "IMAGE"]),
    (
        "publish_ipv6",
        &["run", "--publish", "[::1]:8080:80", "IMAGE"],
    ),
    (
        "publish_no_net",
        &["run", "--publish", "80:80", "--net", "none", "IMAGE"],
    ),
    ("display", &["run", "--display", "sdl", "IMAGE"]),
    (
        "overlay_both",
        &["run", "--overlay", "memory", "--overlay-dir", ".", "IMAGE"],
    ),
    (
        "sector_size",
        &[
            "run",
            "--bus",
            "sata",
            "--disk",
            "image.raw,sector-size=4096",
            "IMAGE",
        ],
    ),
    ("overlay_dir", &["run", "--overlay-dir", "missing", "IMAGE"]),
    ("max_write", &["run", "--max-write", "1.5G", "IMAGE"]),
    ("timeout", &["run", "--timeout", "soon", "IMAGE"]),
    ("report", &["run", "--report", "missing/report", "IMAGE"]),
    (
        "console_log",
        &["run", "--console-log", "missing/log", "IMAGE"],
    ),
    ("cat_no_path", &["cat", "IMAGE"]),
    ("ls_no_image", &["ls", ":/etc"]),
    ("cp_nowhere", &["cp", "image.raw:/a", "missing dir/a"]),
    ("cp_several", &["cp", "image.raw:a", "image.raw:b", "new"]),
    (
        "cp_two_streams",
        &["cp", "image.raw:/a", "image.raw:/b", "-"],
    ),
    (
        "disk_of_two_images",
        &["cat", "--disk", "c.img", "image.raw:/a", "b.img:/a"],
    ),
    (
        "disk_of_two_images_df",
        &["df", "--disk", "c.img", "IMAGE", "b.img"],
    ),
    ("test_no_command", &["test", "IMAGE"]),
    ("test_no_cases", &["test", "IMAGE", "--", "true"]),
    (
        "test_shard",
        &["test", "--shard", "3/2", "IMAGE", "--", "true"],
    ),
    (
        "prepare_cold",
        &["run", "--prepare", "true", "IMAGE", "--", "true"],
    ),
    ("from_image", &["run", "--from", "name", "IMAGE"]),
    ("name", &["template", "build", "--name", "a/b", "IMAGE"]),
    ("quiet_and_verbose", &["run", "-q", "-v", "IMAGE"]),
    ("shell", &["completions", "tcsh"]),
];

#[test]
fn a_mistake_has_its_own_message_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    fs::write(dir.join("image.raw"), [0; 512]).unwrap();
    let qemu = dir.join("qemu");
    write_script(&qemu, ">started");
    let mut cases = Cases::default();
    for (name, arguments) in MISTAKES {
        cases.case(name, || {
            let arguments = arguments.iter().map(|word| match *word {
                "IMAGE" => "image.raw",
                other => other,
            });
            let output = bivouac()
                .args(arguments)
                .env("BIVOUAC_ACCEL", "tcg")
                .env("BIVOUAC_QEMU", &qemu)
                // So that it could leave its mark.
                .env("BIVOUAC_SANDBOX", "off")
                .current_dir(&dir)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "");
            assert!(!dir.join("started").exists(), "QEMU was started");
            let said = String::from_utf8(output.stderr).unwrap();
            let said = said.replace(&dir.display().to_string(), "[dir]");
            insta::assert_snapshot!(format!("usage_{name}"), said);
        });
    }
    let left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_qemu_that_is_not_there_is_told_with_its_hint() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("image.raw"), [0; 512]).unwrap();
    let output = bivouac()
        .args(["run", "--accel", "tcg", "--qemu", "./no-qemu", "image.raw"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap());
}
