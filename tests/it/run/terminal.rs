//! The terminal: raw while the guest has it, and as it was on every way out.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::run_tiny;
use crate::env::pty::OnTerminal;
use crate::env::residue::alive;

fn on_terminal(action: &str) -> (OnTerminal, nix::sys::termios::Termios) {
    // A terminal is born cooked, with these settings; they are read before anyone changes them.
    let pty = nix::pty::openpty(None, None).unwrap();
    let born = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    let mut command = run_tiny(action).command();
    command.stdin(std::process::Stdio::null());
    (OnTerminal::start(command), born)
}

#[test]
fn the_keys_leave_help_and_suspend_and_all_else_goes_to_the_guest() {
    let (mut terminal, born) = on_terminal("echo");
    terminal.wait_for("bivouac: starting tiny.qcow2");
    terminal.wait_for("tiny: ready");
    assert!(terminal.is_raw());
    // The line that said that it was starting has gone again, before the guest's first word.
    let seen = terminal.seen();
    assert!(seen.contains("\r\u{1b}[K"), "{seen:?}");
    assert!(
        !seen.contains("\u{1b}c") && !seen.contains("\u{1b}[?7l"),
        "{seen:?}"
    );

    terminal.press("one\r");
    terminal.wait_for("echo: one");
    // Ctrl-C is the guest's.
    terminal.press("\u{3}");
    terminal.press("\u{1}h");
    terminal.wait_for("Ctrl-A X  end the machine and leave\r\n");

    // Suspended, the shell has its terminal back and the guest does nothing.
    terminal.press("\u{1}z");
    let pid = terminal.pid();
    terminal.wait_until("bivouac is stopped", |_| OnTerminal::state(pid) == 'T');
    assert_eq!(terminal.settings(), born);
    let asleep = terminal.seen().len();
    kill(pid, Signal::SIGCONT).unwrap();
    terminal.wait_until("the terminal is raw again", OnTerminal::is_raw_now);
    terminal.press("two\r");
    terminal.wait_for("echo: two");
    assert!(terminal.seen().len() > asleep);

    terminal.press("\u{1}x");
    let status = terminal.wait();
    assert_eq!(status.code(), Some(0), "{}", terminal.seen());
    assert_eq!(terminal.settings(), born);
    // Line wrap and the cursor are back, whatever the guest did to them.
    assert!(
        terminal.seen().contains("\u{1b}[?7h"),
        "{:?}",
        terminal.seen()
    );
}

#[test]
fn a_stopped_launcher_stops_its_guest_and_both_go_on_together() {
    let (mut terminal, _) = on_terminal("flood");
    terminal.wait_for("lazy dog");
    let pid = terminal.pid();
    kill(pid, Signal::SIGTSTP).unwrap();
    terminal.wait_until("bivouac is stopped", |_| OnTerminal::state(pid) == 'T');
    let qemu = crate::env::bivouac::children(pid)
        .into_iter()
        .find(|child| {
            std::fs::read_link(format!("/proc/{child}/exe"))
                .is_ok_and(|exe| exe.to_string_lossy().contains("qemu"))
        })
        .expect("QEMU runs");
    // The flood would keep a CPU busy: a stopped guest uses no time of it.
    let used = || cpu_ticks(qemu);
    std::thread::sleep(Duration::from_millis(200));
    let before = used();
    std::thread::sleep(Duration::from_secs(1));
    let while_stopped = used() - before;
    kill(pid, Signal::SIGCONT).unwrap();
    let before = used();
    terminal.wait_until("the guest goes on", |_| used() > before + 20);
    assert!(
        while_stopped < 10,
        "the guest ran on: {while_stopped} ticks"
    );
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(terminal.wait().code(), Some(143));
}

/// User and system time of a process in clock ticks (proc(5), fields 14 and 15).
fn cpu_ticks(pid: nix::unistd::Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Ends the run in one way while the terminal is raw.
fn restored_after(end: impl Fn(&OnTerminal), code: Option<i32>) {
    let (mut terminal, born) = on_terminal("hang");
    terminal.wait_until("the terminal is raw", OnTerminal::is_raw_now);
    terminal.wait_for("SeaBIOS");
    let processes = crate::env::bivouac::children(terminal.pid());
    assert!(
        processes.len() >= 2,
        "QEMU and the terminal's guard: {processes:?}"
    );
    end(&terminal);
    let status = terminal.wait();
    assert_eq!(status.code(), code, "{}", terminal.seen());
    // Where bivouac was killed, its guard does it, an instant later.
    terminal.wait_until("the terminal is as it was", |this| this.settings() == born);
    terminal.wait_until("no process is left", |_| {
        !processes.iter().any(|pid| alive(*pid))
    });
}

#[test]
fn the_terminal_is_restored_after_sigterm() {
    restored_after(
        |terminal| kill(terminal.pid(), Signal::SIGTERM).unwrap(),
        Some(143),
    );
}

#[test]
fn the_terminal_is_restored_though_the_launcher_is_killed() {
    restored_after(
        |terminal| kill(terminal.pid(), Signal::SIGKILL).unwrap(),
        None,
    );
}

#[test]
fn the_terminal_is_restored_though_the_launcher_crashes() {
    restored_after(
        |terminal| kill(terminal.pid(), Signal::SIGABRT).unwrap(),
        None,
    );
}

#[test]
fn the_terminal_is_restored_when_qemu_is_killed() {
    let kill_qemu = |terminal: &OnTerminal| {
        for child in crate::env::bivouac::children(terminal.pid()) {
            let exe = std::fs::read_link(format!("/proc/{child}/exe")).unwrap();
            if exe.to_string_lossy().contains("qemu") {
                kill(child, Signal::SIGKILL).unwrap();
            }
        }
    };
    restored_after(kill_qemu, Some(123));
}
