//! The console without a terminal: copied, fed, never in the way.

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;

use super::{ended, report, run_tiny};
use crate::env::bivouac::PATIENCE;

#[test]
fn what_is_typed_reaches_the_guest_and_its_end_does_not_end_the_guest() {
    let mut running = run_tiny("echo").start();
    running.wait_for("tiny: ready");
    running.type_in("first line\n");
    running.wait_for("echo: first line");
    // Ctrl-A is nothing special where no terminal is.
    running.type_in("\u{1}x\nbye\n");
    running.stdin = None;
    let finished = running.wait();
    ended(&finished, 0);
    assert!(finished.stdout.contains("echo: \u{1}x"), "{finished:?}");
}

#[test]
fn the_time_of_a_login_prompt_is_in_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let run = run_tiny("echo").args(["--boot-timeout", "10m", "--report"]);
    let mut running = run.arg(&json).start();
    running.wait_for("tiny: ready");
    running.type_in("debian12 login:\n");
    running.wait_for("echo: debian12 login:");
    running.signal(Signal::SIGTERM);
    ended(&running.wait(), 143);
    let report = report(&json);
    assert!(report["phases"]["login-prompt"].is_number(), "{report:#}");
}

/// A run whose guest prints without end.
fn flood() -> (Child, ChildStdout) {
    let mut run = run_tiny("flood").command();
    let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}

#[test]
fn a_reader_that_goes_away_ends_the_run_as_it_ends_any_program() {
    let (mut child, mut stdout) = flood();
    let mut seen = String::new();
    let mut buffer = [0; 512];
    while !seen.contains("lazy dog") {
        let n = stdout.read(&mut buffer).unwrap();
        assert!(n > 0, "ended early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    drop(stdout);
    assert_eq!(wait(&mut child), Some(128 + 13));
}

#[test]
fn a_reader_that_stalls_does_not_keep_a_signal_from_ending_the_run() {
    let (mut child, mut stdout) = flood();
    let mut buffer = [0; 64];
    // Some output has come; from here on nobody reads, and soon the pipe is full.
    stdout.read_exact(&mut buffer).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let start = std::time::Instant::now();
    while !is_blocked_in_write(pid) {
        assert!(start.elapsed() < PATIENCE, "the pipe never filled");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    // Nobody has read a byte more, and the pipe is still open and full.
    assert_eq!(wait(&mut child), Some(143));
    drop(stdout);
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_says_so() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full");
    for action in ["poweroff", "hang"] {
        let mut child = run_tiny(action)
            .command()
            .stdout(full().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(wait(&mut child), Some(125));
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert!(
            said.contains("writing standard output: No space left on device"),
            "{said}"
        );
    }
}

#[test]
fn a_console_log_over_its_limit_has_the_beginning_and_the_end_and_that_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let run = run_tiny("poweroff").args(["--max-log", "100", "--console-log"]);
    let finished = run.arg(&log).output();
    ended(&finished, 0);
    let said = "bivouac: warning: --console-log has reached the size of --max-log; from here on only the end is kept\n";
    assert_eq!(finished.stderr, said);
    let logged = std::fs::read_to_string(log).unwrap();
    let (begin, end) = logged.split_once("\n[bivouac: ").unwrap();
    let (_, end) = end.split_once(" bytes left out by --max-log]\n").unwrap();
    assert_eq!((begin.len(), end.len()), (75, 25), "{logged}");
    assert!(finished.stdout.starts_with(begin) && finished.stdout.ends_with(end));
    assert!(finished.stdout.contains("tiny: ready"), "{finished:?}");
}

#[test]
fn a_console_log_that_cannot_be_written_ends_the_run_instead_of_stalling_the_guest() {
    // No time-out: a guest that is not drained would never end.
    let finished = run_tiny("flood")
        .args(["--console-log", "/dev/full"])
        .output();
    ended(&finished, 125);
    assert!(
        finished
            .stderr
            .contains("writing --console-log: No space left on device"),
        "{finished:?}"
    );
}

#[test]
fn a_qemu_that_does_not_answer_to_ctrl_z_does_not_keep_a_signal_from_ending_the_run() {
    let mut running = run_tiny("hang").start();
    running.wait_for("tiny: ready");
    let qemu = running.qemu();
    nix::sys::signal::kill(qemu, Signal::SIGSTOP).unwrap();
    running.signal(Signal::SIGTSTP);
    std::thread::sleep(std::time::Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    // It was a failure after 30 s.
    ended(&running.wait(), 143);
}

/// Whether a thread of the process waits in pipe_write, by the kernel's own word.
pub fn is_blocked_in_write(pid: nix::unistd::Pid) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().any(|task| {
        let syscall = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        // write(1, ...) on x86-64.
        syscall.starts_with("1 0x1 ")
    })
}

fn wait(child: &mut std::process::Child) -> Option<i32> {
    let start = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("bivouac does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_run_with_all_three_streams_closed_works() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let run = run_tiny("poweroff").arg("--report").arg(&report);
    let inner = run.command();
    // A shell closes them before it executes bivouac.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]);
    closed.arg(inner.get_program()).args(inner.get_args());
    closed.env("BIVOUAC_ACCEL", "tcg");
    let mut child = closed.spawn().unwrap();
    let code = wait(&mut child);
    assert_eq!(code, Some(0), "{:#}", super::report(&report));
}
