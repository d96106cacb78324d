//! The terminal: raw while the guest has it, and as it was on every way out.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::run_tiny;
use crate::env::bivouac::children;
use crate::env::pty::OnTerminal;
use crate::env::residue::alive;
use crate::env::script::write_script;

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
    let (said, printed) = seen.split_once("\u{1b}[2J").expect("SeaBIOS clears");
    assert!(said.ends_with("\r\u{1b}[2K"), "{seen:?}");
    assert!(!printed.contains("\u{1b}[2K"), "{seen:?}");
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

    // Here nobody could continue what is stopped: it goes on at once.
    terminal.press("\u{1}z");
    terminal.press("two\r");
    terminal.wait_for("echo: two");

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

/// Whatever the guest prints, the shell gets its terminal as it was: the guest sends what it is sent.
#[test]
fn what_a_guest_prints_does_not_outlast_it() {
    let (mut terminal, born) = on_terminal("echo");
    terminal.wait_for("tiny: ready");
    let hostile = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}]2;root@bank\u{7}\u{1b}[?1049h\u{1b}[4;9r";
    terminal.press(&format!("{hostile}\u{1b}[4hend\r"));
    terminal.wait_for("\u{1b}[4hend");
    let seen = terminal.seen();
    assert!(
        seen.contains("\u{1b}[?1049h\u{1b}[4;9r\u{1b}[4hend"),
        "{seen:?}"
    );
    assert!(!seen.contains("\u{1b}]"), "{seen:?}");

    terminal.press("\u{1}x");
    terminal.wait_for("\u{1b}[5n");
    // Late answers, and a key; then the answer to the last question.
    terminal.press("\u{1b}[?62;4cx");
    std::thread::sleep(Duration::from_millis(50));
    terminal.press("\u{1b}[?62;4c\u{1b}[0n");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
    assert_eq!(terminal.settings(), born);
    assert_eq!(terminal.unread(), 0, "typed at the shell");
    let seen = terminal.seen();
    let end = &seen[seen.find("4hend").unwrap()..];
    for restored in [
        "\u{1b}[?1049l",
        "\u{1b}[!p",
        "\u{1b}[4l",
        "\u{1b}[r",
        "\u{1b}[?7h",
    ] {
        assert!(end.contains(restored), "{restored:?}: {end:?}");
    }
}

#[test]
fn a_panic_ends_the_run_though_the_user_goes_on_typing() {
    let (mut terminal, born) = on_terminal("panic");
    terminal.wait_for("Kernel panic");
    let mut status = None;
    terminal.wait_until("the run ends", |this| {
        this.press("x");
        status = this.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(122), "{}", terminal.seen());
    assert_eq!(terminal.settings(), born);
}

/// Under a shell with job control, as people have it.
#[test]
fn a_suspended_run_gives_the_shell_its_terminal_and_stops_the_guest_until_fg() {
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "--noediting", "-i"])
        .env("PS1", "prompt$ ");
    let mut terminal = OnTerminal::start(shell);
    terminal.wait_for("prompt$ ");
    let run = run_tiny("flood").command();
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    terminal.press(&format!("export BIVOUAC_ACCEL=tcg; {}\r", line.join(" ")));
    terminal.wait_for("lazy dog");
    let bivouac = children(terminal.pid())[0];
    let qemu = children(bivouac)
        .into_iter()
        .find(|child| is_qemu(*child))
        .expect("QEMU runs");

    // The flood keeps a CPU busy: a stopped guest uses no time of it.
    let stopped = |terminal: &mut OnTerminal| {
        terminal.wait_until("bivouac is stopped", |_| OnTerminal::state(bivouac) == 'T');
        terminal.wait_until("the shell has its terminal", |this| !this.is_raw());
        let before = cpu_ticks(qemu);
        std::thread::sleep(Duration::from_secs(1));
        let ticks = cpu_ticks(qemu) - before;
        assert!(ticks < 10, "the guest ran on: {ticks} ticks");
    };
    let goes_on = |terminal: &mut OnTerminal| {
        let before = cpu_ticks(qemu);
        terminal.press("fg\r");
        terminal.wait_until("the terminal is raw", OnTerminal::is_raw_now);
        terminal.wait_until("the guest goes on", |_| cpu_ticks(qemu) > before + 20);
    };
    terminal.press("\u{1}z");
    stopped(&mut terminal);
    goes_on(&mut terminal);
    kill(bivouac, Signal::SIGTSTP).unwrap();
    stopped(&mut terminal);
    goes_on(&mut terminal);
    let prompts = |this: &OnTerminal| this.seen().matches("prompt$ ").count();
    let before = prompts(&terminal);
    terminal.press("\u{1}x");
    // Until bivouac is gone, it may be the one that reads what is typed.
    terminal.wait_until("both are gone", |_| !alive(qemu) && !alive(bivouac));
    // What is typed before the shell has set its terminal up again may be lost.
    terminal.wait_until("the shell prompts", |this| prompts(this) > before);
    terminal.press("exit\r");
    terminal.wait();
}

/// Under a shell with job control as well: without one nobody could continue it.
#[test]
fn ctrl_z_before_the_guest_runs_stops_the_run_and_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let slow = dir.path().join("slow-qemu");
    let (asleep, go) = (dir.path().join("asleep"), dir.path().join("go"));
    let run = run_tiny("poweroff").command();
    write_script(
        &slow,
        &format!(
            "touch {}; until [ -e {} ]; do sleep 0.1; done; exec qemu-system-x86_64 \"$@\"",
            asleep.display(),
            go.display()
        ),
    );
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "--noediting", "-i"])
        .env("PS1", "prompt$ ")
        .env("BIVOUAC_ACCEL", "tcg")
        .env("BIVOUAC_SANDBOX", "off")
        .env("BIVOUAC_QEMU", &slow);
    let mut terminal = OnTerminal::start(shell);
    terminal.wait_for("prompt$ ");
    terminal.press(&format!("{}; echo \"status=$?\"\r", line.join(" ")));
    terminal.wait_until("QEMU is being started", |_| asleep.exists());
    let bivouac = children(terminal.pid())[0];
    terminal.press("\u{1a}");
    terminal.wait_until("bivouac is stopped", |_| OnTerminal::state(bivouac) == 'T');
    terminal.wait_for("Stopped");
    std::fs::write(go, "").unwrap();
    terminal.press("fg; echo \"status=$?\"\r");
    terminal.wait_for("tiny: ready");
    terminal.wait_for("status=0");
    terminal.press("exit\r");
    terminal.wait();
}

/// With a line editor, as people have it: while it waits for a command, the terminal is the
/// editor's, and its settings are not those to give back.
#[test]
fn a_run_that_is_started_in_the_background_waits_for_fg_and_gives_back_the_shells_own_settings() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("settings");
    let run = run_tiny("echo").command();
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = dir.path().join("run");
    // Not before the shell is back at its prompt.
    let go = dir.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.1; done", go.display());
    write_script(&script, &format!("{wait}; exec {}", line.join(" ")));
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "prompt$ ")
        .env("TERM", "dumb")
        .env("BIVOUAC_ACCEL", "tcg");
    let mut terminal = OnTerminal::start(shell);
    terminal.wait_for("prompt$ ");
    terminal.press(&format!("{} &\r", script.display()));
    terminal.wait_until("the shell asks again", |this| {
        this.seen().matches("prompt$ ").count() > 1
    });
    std::fs::write(go, "").unwrap();
    terminal.wait_until("it is stopped", |this| {
        let jobs = children(this.pid());
        !jobs.is_empty() && OnTerminal::state(jobs[0]) == 'T'
    });
    let bivouac = children(terminal.pid())[0];
    assert!(children(bivouac).is_empty(), "nothing is started before");
    terminal.press("fg\r");
    terminal.wait_for("tiny: ready");
    terminal.press("\u{1}x");
    terminal.wait_until("the shell asks again", |this| {
        !alive(bivouac) && this.seen().ends_with("prompt$ ")
    });
    terminal.press(&format!("stty -a >{}; exit\r", settings.display()));
    terminal.wait();
    let settings = std::fs::read_to_string(settings).unwrap();
    assert!(settings.contains(" icanon"), "{settings}");
    assert!(settings.contains(" echo "), "{settings}");
}

fn is_qemu(pid: nix::unistd::Pid) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.to_string_lossy().contains("qemu"))
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
    let processes = children(terminal.pid());
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
fn a_terminal_that_takes_nothing_more_does_not_keep_a_signal_from_ending_the_run() {
    // As in a connection that hangs: its other end is open, and nobody reads there.
    let pty = nix::pty::openpty(None, None).unwrap();
    let born = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    let end = || std::process::Stdio::from(pty.slave.try_clone().unwrap());
    let mut command = run_tiny("flood").command();
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
    let child = child.as_mut().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let start = std::time::Instant::now();
    let wait_until = |done: &mut dyn FnMut() -> bool| {
        while !done() {
            assert!(start.elapsed() < crate::env::bivouac::PATIENCE);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_until(&mut || super::console::is_blocked_in_write(pid));
    kill(pid, Signal::SIGTERM).unwrap();
    let mut status = None;
    wait_until(&mut || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(143));
    assert_eq!(nix::sys::termios::tcgetattr(&pty.slave).unwrap(), born);
}

#[test]
fn the_terminal_is_restored_though_the_launcher_is_killed() {
    restored_after(
        |terminal| kill(terminal.pid(), Signal::SIGKILL).unwrap(),
        None,
    );
}

#[test]
fn the_terminal_is_restored_though_its_guard_was_told_to_end_and_the_launcher_is_killed() {
    let signal_guard = |terminal: &OnTerminal| {
        let guards = children(terminal.pid()).into_iter();
        for guard in guards.filter(|child| !is_qemu(*child)) {
            // The first comes from the kernel, when the leader of a session ends.
            for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
                kill(guard, signal).unwrap();
            }
        }
        kill(terminal.pid(), Signal::SIGKILL).unwrap();
    };
    restored_after(signal_guard, None);
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
        for child in children(terminal.pid()) {
            if is_qemu(child) {
                kill(child, Signal::SIGKILL).unwrap();
            }
        }
    };
    restored_after(kill_qemu, Some(123));
}
