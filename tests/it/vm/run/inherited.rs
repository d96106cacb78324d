//! What bivouac inherits from whoever starts it: limits and ignored signals must not break a run.

use nix::sys::signal::{Signal, kill};

use super::{ended, run_tiny};
use crate::env::bivouac::{Bivouac, Finished, children};
use crate::env::pty::OnTerminal;
use crate::env::residue::alive;
use crate::env::script::write_script;

/// A run of the tiny guest whose shell has done `first`, without root's right to raise limits.
fn run_after(first: &str) -> Finished {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("started-so");
    let text = format!(
        "{first}\n[ $(id -u) = 0 ] && set -- setpriv --bounding-set=-sys_resource \"$@\"\n\
         exec \"$@\""
    );
    write_script(&script, &text);
    let run = run_tiny("poweroff").command();
    Bivouac::by(&script)
        .arg(run.get_program())
        .args(run.get_args())
        .output()
}

#[test]
fn hard_limits_that_are_lower_than_ours_already_are_left_as_they_are() {
    let finished = run_after("ulimit -c 0");
    ended(&finished, 0);
    let finished = run_after("ulimit -f 1000000; set -- \"$@\" --max-write 1T");
    ended(&finished, 0);
}

#[test]
fn the_end_of_qemu_is_seen_though_whoever_starts_us_ignores_sigchld() {
    let finished = run_after("set -- env --ignore-signal=CHLD \"$@\"");
    ended(&finished, 0);
}

/// Linux before 5.9, or a container's filter that does not know close_range.
#[test]
fn the_terminals_guard_ends_with_the_launcher_though_there_is_no_close_range() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("strace-it");
    let inject = "strace -f -qq -o /dev/null -e inject=close_range:error=ENOSYS";
    let run = run_tiny("hang").command();
    let mut command = std::process::Command::new(&script);
    command.arg(run.get_program()).args(run.get_args());
    command.env("BIVOUAC_ACCEL", "tcg");
    write_script(&script, &format!("exec {inject} \"$@\""));
    let mut terminal = OnTerminal::start(command);
    terminal.wait_until("the terminal is raw", OnTerminal::is_raw_now);
    let bivouac = children(terminal.pid())[0];
    let processes = children(bivouac);
    assert!(processes.len() >= 2, "QEMU and the guard: {processes:?}");
    kill(bivouac, Signal::SIGKILL).unwrap();
    terminal.wait_until("no process is left", |_| {
        !processes.iter().any(|pid| alive(*pid))
    });
    terminal.wait();
}
