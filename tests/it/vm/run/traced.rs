//! Invariants "Read-only by descriptor" and "Nothing has a name", by the kernel's own account:
//! strace of a whole run, every process and thread of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::images::chain_of_three;

/// System calls that make, name or change files.
const CALLS: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,\
    symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,truncate,bind,chmod,fchmodat,\
    chown,lchown,fchownat,utimensat,setxattr,lsetxattr,mount,memfd_create";

#[test]
fn no_layer_is_opened_for_writing_and_nothing_else_is_written_by_any_process() {
    let dir = tempfile::tempdir().unwrap();
    let layers = chain_of_three(dir.path(), &guest("tiny.raw"));
    let [overlays, log, json, trace] =
        ["overlays", "console.log", "report.json", "trace"].map(|name| dir.path().join(name));
    std::fs::create_dir(&overlays).unwrap();
    let run = Bivouac::by(Path::new("strace"))
        .args(["-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_bivouac"))
        // With the KVM check.
        .args(["run", "--accel", "kvm:tcg"])
        .args(tiny("writeall"))
        .args(["--firmware", "uefi", "--net", "user"])
        .arg("--overlay-dir")
        .arg(&overlays)
        .arg("--console-log")
        .arg(&log)
        .arg("--report")
        .arg(&json)
        .arg(&layers[0]);
    let finished = run.output();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(finished.code(), Some(0), "{finished:?}");

    let mut layers_opened = 0;
    let mut overlays_made = 0;
    for line in trace.lines().filter(|line| !line.contains(") = -1 ")) {
        let call = line
            .split_once(' ')
            .map_or(line, |(_, call)| call.trim_start());
        let path = call.split('"').nth(1).unwrap_or_default();
        let path_is = |wanted: &Path| Path::new(path) == wanted;
        // A recorded name is opened beneath the directory of the layer that records it.
        let is_beneath = |layer: &PathBuf| {
            call.starts_with("openat2(") && layer.file_name() == Some(path.as_ref())
        };
        if layers
            .iter()
            .any(|layer| path_is(layer) || is_beneath(layer))
        {
            assert!(
                call.starts_with("openat") && call.contains("O_RDONLY"),
                "{line}"
            );
            layers_opened += 1;
            continue;
        }
        if call.starts_with("memfd_create(") {
            // Memory, without a name: QEMU tries out whether it can be had.
            continue;
        }
        if !call.starts_with("open") && !call.starts_with("creat") {
            panic!("nothing but opening files is expected: {line}");
        }
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "creat("];
        if !writes.iter().any(|flag| call.contains(flag)) {
            continue;
        }
        if path_is(&overlays) {
            assert!(call.contains("O_TMPFILE"), "{line}");
            overlays_made += 1;
        } else {
            let allowed = path_is(&log) || path_is(&json) || is_no_file(path);
            assert!(allowed, "something else is written: {line}");
        }
    }
    assert_eq!(layers_opened, 3, "each layer is opened once\n{trace}");
    // One to see that the directory takes files, one for the disk, one for UEFI's variables.
    assert!((2..=3).contains(&overlays_made), "{overlays_made}\n{trace}");
    assert!(std::fs::read_dir(&overlays).unwrap().next().is_none());
    assert!(
        Command::new("pgrep")
            .args(["-f", &json.display().to_string()])
            .output()
            .unwrap()
            .stdout
            .is_empty()
    );
}

/// Devices that keep nothing, and a thread's own name in /proc.
fn is_no_file(path: &str) -> bool {
    ["/dev/null", "/dev/kvm", "/dev/tty"].contains(&path)
        || (path.starts_with("/proc/self/task/") && path.ends_with("/comm"))
}
