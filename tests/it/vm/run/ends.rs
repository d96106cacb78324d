//! How a run ends: its exit status, what it says, and what stands in the report.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{ended, report, run_tiny};
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::images::qemu_img;
use crate::env::residue::alive;
use crate::env::script::write_script;
use crate::env::wait::{soon, spawn};

#[test]
fn a_guest_that_powers_off_is_a_success_and_the_report_tells_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (json, log) = (
        dir.path().join("report.json"),
        dir.path().join("console.log"),
    );
    let run = run_tiny("poweroff")
        .arg("--report")
        .arg(&json)
        .arg("--console-log")
        .arg(&log);
    let finished = run.output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: ready"), "{finished:?}");
    assert_eq!(finished.stderr, "", "nothing is said of a success");
    let logged = std::fs::read_to_string(log).unwrap();
    assert_eq!(logged, finished.stdout, "the log has every byte");

    let report = report(&json);
    assert_eq!(report["verdict"]["status"], 0);
    assert_eq!(report["verdict"]["end"], "powered-off");
    assert_eq!(report["accelerator"]["asked"], "tcg");
    assert_eq!(report["accelerator"]["used"], "tcg");
    assert_eq!(report["layers"][0]["unchanged"], true);
    assert_eq!(report["layers"][0]["before"], report["layers"][0]["after"]);
    assert!(
        report["overlays"][0]["bytes"].as_u64().unwrap() < 8 << 20,
        "{report:#}"
    );
    let phases = [
        "images",
        "prepared",
        "greeted",
        "running",
        "first-output",
        "ended",
    ];
    let times = phases.map(|phase| report["phases"][phase].as_f64().expect(phase));
    assert!(times.is_sorted(), "{report:#}");
}

#[test]
fn the_report_says_by_which_right_each_layer_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::copy(guest("tiny.qcow2"), path("base.qcow2")).unwrap();
    let create = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
    ];
    qemu_img(&create, &[&path("top.qcow2")]);
    let run = Bivouac::run().args(tiny("poweroff")).arg(path("top.qcow2"));
    let finished = run.arg("--report").arg(path("report")).output();
    ended(&finished, 0);
    let layers = &report(&path("report"))["layers"];
    assert_eq!(layers[0]["by"], "given", "{layers:#}");
    assert_eq!(layers[1]["by"], "directory", "{layers:#}");
}

#[test]
fn a_panic_ends_the_run_at_once_with_its_whole_trace() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    // No time-out: a panic that went unseen would never end.
    let finished = run_tiny("panic").arg("--report").arg(&json).output();
    ended(&finished, 122);
    assert!(
        finished.stdout.contains("---[ end Kernel panic"),
        "{finished:?}"
    );
    assert!(
        finished
            .stderr
            .contains("Kernel panic - not syncing: sysrq triggered crash")
    );
    let report = report(&json);
    assert_eq!(report["verdict"]["end"], "panicked");
    let tail = report["verdict"]["console_tail"].as_array().unwrap();
    assert!(tail.len() > 10, "{report:#}");
}

#[test]
fn a_report_that_cannot_be_written_does_not_hide_how_the_run_ended() {
    let full = ["--report", "/dev/full"];
    let finished = run_tiny("panic").args(full).output();
    ended(&finished, 122);
    assert!(finished.stderr.contains("the guest's kernel panicked"));
    assert!(finished.stderr.contains("writing the report: No space"));
    // A success without its report is none.
    ended(&run_tiny("poweroff").args(full).output(), 125);
}

#[test]
fn a_reset_ends_the_run_unless_it_was_allowed() {
    let finished = run_tiny("reboot").output();
    ended(&finished, 122);
    assert_snapshot!(finished.stderr, @r"
    bivouac: error: the guest asked for a reset (a reboot, or a crash of its CPU)
      hint: --reboot lets it start again
    ");

    let mut running = run_tiny("reboot").arg("--reboot").start();
    running.wait_for("reboot: Restarting system");
    let first = running.console().matches("tiny: ready").count();
    assert_eq!(first, 1);
    running.wait_for_count("tiny: ready", 2);
    running.signal(Signal::SIGTERM);
    ended(&running.wait(), 143);
}

#[test]
fn a_report_that_cannot_be_written_hides_nothing_of_what_went_wrong() {
    let finished = run_tiny("hang")
        .args(["--timeout", "700ms", "--report", "/dev/full"])
        .output();
    ended(&finished, 124);
    assert!(
        finished.stderr.contains("writing the report"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.contains("--timeout ran out"),
        "{finished:?}"
    );
    let planned = run_tiny("hang")
        .args(["--dry-run", "--report", "/dev/full"])
        .output();
    ended(&planned, 125);
}

#[test]
fn the_report_of_a_start_that_failed_knows_the_layers_too() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let run = run_tiny("hang")
        .args(["--qemu-arg", "-bogus", "--report"])
        .arg(&json);
    ended(&run.output(), 125);
    let report = report(&json);
    assert_eq!(report["verdict"]["end"], "failed");
    assert_eq!(report["layers"][0]["unchanged"], true, "{report:#}");
}

#[test]
fn qemu_is_not_let_out_of_our_hands() {
    for arg in ["-daemonize", "-pidfile"] {
        let finished = run_tiny("hang").args(["--qemu-arg", arg]).output();
        ended(&finished, 125);
        let said = format!("bivouac: error: --qemu-arg {arg}: it would leave something behind\n");
        assert!(finished.stderr.starts_with(&said), "{finished:?}");
    }
}

#[test]
fn a_signal_that_was_blocked_when_bivouac_started_is_handled() {
    let run = run_tiny("hang").command();
    // env(1) of coreutils 8.31 and later.
    let blocked = Bivouac::by(Path::new("env")).arg("--block-signal=TERM");
    let mut running = blocked.arg(run.get_program()).args(run.get_args()).start();
    running.wait_for("SeaBIOS");
    running.signal(Signal::SIGTERM);
    ended(&running.wait(), 143);
}

/// As sudo and many a service manager have it. Raising a hard limit again is not allowed.
#[test]
fn a_run_starts_where_core_files_are_forbidden_already() {
    let words = run_tiny("hang").args(["--timeout", "1s"]).command();
    let mut limited = Bivouac::by(Path::new("setpriv"))
        .args([
            "--bounding-set",
            "-sys_resource",
            "--inh-caps",
            "-sys_resource",
        ])
        .args(["sh", "-c", "ulimit -Hc 0 && exec \"$@\"", "sh"]);
    limited = limited.arg(words.get_program()).args(words.get_args());
    ended(&limited.output(), 124);
}

#[test]
fn the_time_outs_end_the_run_with_124() {
    for option in ["--timeout", "--boot-timeout"] {
        let finished = run_tiny("hang").args([option, "700ms"]).output();
        ended(&finished, 124);
        assert_eq!(
            finished.stderr,
            format!("bivouac: error: {option} ran out after 0.7 s\n")
        );
    }
}

#[test]
fn qemu_ended_by_somebody_else_is_no_success() {
    let mut running = run_tiny("hang").start();
    let qemu = running.qemu();
    running.wait_for("SeaBIOS");
    // QEMU then says "host-signal" and exits with status 0.
    nix::sys::signal::kill(qemu, Signal::SIGTERM).unwrap();
    let finished = running.wait();
    ended(&finished, 123);
    let said = "bivouac: error: QEMU died: ended by a signal from another process\nQEMU said: ";
    assert!(finished.stderr.starts_with(said), "{finished:?}");
}

#[test]
fn a_qemu_that_refuses_its_arguments_is_quoted() {
    let finished = run_tiny("hang").args(["--qemu-arg", "-bogus"]).output();
    ended(&finished, 125);
    assert!(
        finished.stderr.contains("-bogus: invalid option"),
        "{finished:?}"
    );
    let finished = run_tiny("hang").args(["--machine", "toaster"]).output();
    ended(&finished, 125);
    assert!(
        finished.stderr.contains("unsupported machine type"),
        "{finished:?}"
    );
}

/// Stands in for QEMU where the real one cannot be made to misbehave.
fn fake_qemu(dir: &std::path::Path, script: &str) -> std::path::PathBuf {
    let path = dir.join("qemu");
    // $fd is QEMU's end of QMP.
    let find = r#"for arg; do case $arg in socket,id=qmp,fd=*) fd=${arg##*=};; esac; done"#;
    let script = script.replace('\'', r"'\''");
    write_script(
        &path,
        &format!("exec bash -c '{find}\n{script}' \"$0\" \"$@\""),
    );
    path
}

#[test]
fn a_qemu_that_talks_no_qmp_or_none_at_all_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let qemu = fake_qemu(dir.path(), script);
        let run = Bivouac::run()
            .arg(guest("tiny.qcow2"))
            .arg("--qemu")
            .arg(qemu);
        let finished = run.args(["--timeout", "2", "--sandbox", "off"]).output();
        (finished.code().unwrap(), finished.stderr)
    };
    let (code, said) = run("echo hello >&$fd; exec sleep 60");
    assert_eq!(code, 125);
    assert_snapshot!(said, @r#"bivouac: error: QEMU sent something that is not QMP: "hello""#);
    let (code, said) = run("echo out of luck >&2; exit 3");
    assert_eq!(code, 125);
    assert_snapshot!(said, @r"
    bivouac: error: QEMU ended before the machine started (exit status 3)
    QEMU said: out of luck
    ");
    let (code, said) = run("kill -SEGV $$");
    assert_eq!(code, 123);
    assert_snapshot!(said, @"bivouac: error: QEMU died while starting: killed by SIGSEGV");
    let (code, said) = run("exec sleep 60");
    assert_eq!(code, 124);
    assert_snapshot!(said, @"bivouac: error: --timeout ran out after 2 s");
}

/// A QEMU that sends events as fast as it can, and answers nothing.
#[test]
fn a_flood_of_events_holds_no_timeout_up() {
    let dir = tempfile::tempdir().unwrap();
    let greeting = r#"{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":7},"package":""},"capabilities":[]}}"#;
    let event = r#"{"event":"RESUME","timestamp":{"seconds":1,"microseconds":2}}"#;
    let script = format!(
        "echo '{greeting}' >&$fd; read -r line <&$fd; echo '{{\"return\":{{}},\"id\":0}}' >&$fd\n\
         echo $$ >\"$0.pid\"; exec yes '{event}' >&$fd"
    );
    let qemu = fake_qemu(dir.path(), &script);
    let flooded = |options: &[&str]| {
        let run = Bivouac::run().args(["--timeout", "3", "--sandbox", "off", "--qemu"]);
        let mut command = run
            .arg(&qemu)
            .args(options)
            .arg(guest("tiny.qcow2"))
            .command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = spawn(&mut command).unwrap();
        let status = child.wait().unwrap();
        let pid = std::fs::read_to_string(dir.path().join("qemu.pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap());
        soon("QEMU is gone", || !alive(pid));
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{:?}",
            started.elapsed()
        );
        let mut said = Vec::new();
        child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
        (status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = flooded(&[]);
    assert_eq!(
        (code, &*said),
        (Some(124), "bivouac: error: --timeout ran out after 3 s\n")
    );
    // Nobody reads what is logged of the events, so that bivouac's own loop is blocked.
    let (code, said) = flooded(&["-v"]);
    assert_eq!(code, Some(124), "{}", &said[..said.len().min(500)]);
    assert!(said.contains("QMP event RESUME"));
}

#[test]
fn an_image_whose_header_changes_between_our_check_and_qemus_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.qcow2");
    qemu_img(
        &["create", "-q", "-f", "qcow2"],
        &[&image, Path::new("64M")],
    );
    // Somebody writes another disk size (byte 24 on) before the real QEMU opens the image.
    let script = format!(
        "printf '\\x08' | dd of='{}' bs=1 seek=28 conv=notrunc status=none\n\
         exec qemu-system-x86_64 \"$@\"",
        image.display()
    );
    let qemu = fake_qemu(dir.path(), &script);
    let finished = Bivouac::run()
        .arg(&image)
        .args(["--sandbox", "off", "--qemu"])
        .arg(qemu)
        .output();
    ended(&finished, 125);
    let said = finished
        .stderr
        .replace(&dir.path().display().to_string(), "[dir]");
    assert_snapshot!(said, @r"
    bivouac: warning: [dir]/disk.qcow2 was changed by another process during the run
    bivouac: error: [dir]/disk.qcow2: its header was changed while QEMU opened it
      hint: run it again when no other process writes to it
    ");
}

#[test]
fn kvm_that_cannot_run_guests_is_said_once_and_is_an_error_only_where_it_was_demanded() {
    let kvm = |accel: &str| {
        let run = Bivouac::run()
            .env("BIVOUAC_ACCEL", accel)
            .arg(guest("tiny.qcow2"));
        run.args(["--dry-run"]).output()
    };
    let either = kvm("kvm:tcg");
    ended(&either, 0);
    if either.stdout.contains("accel=kvm:tcg") {
        // KVM works here: then it may be demanded too.
        assert_eq!(either.stderr, "");
        ended(&kvm("kvm"), 0);
        return;
    }
    assert!(either.stdout.contains("accel=tcg"), "{either:?}");
    assert_eq!(either.stderr.lines().count(), 1, "{either:?}");
    assert!(
        either.stderr.contains("the guest is emulated (TCG)"),
        "{either:?}"
    );
    let demanded = kvm("kvm");
    ended(&demanded, 125);
    assert!(demanded.stderr.contains("--accel kvm"), "{demanded:?}");
}
