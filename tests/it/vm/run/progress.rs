//! The status line: on a terminal alone, with the time of a wait and what a guest shows that boots.

use super::run_tiny;
use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::pty::OnTerminal;

#[test]
fn a_boot_shows_its_time_and_the_consoles_latest_line_until_the_command_prints() {
    // The kernel's messages, too.
    let args = tiny("switch").into_iter();
    let args = args.map(|arg| arg.replace(" quiet", ""));
    let run = Bivouac::run().args(args).arg(guest("box.qcow2"));
    let run = run.args(["--", "sh", "-c", "echo here"]);
    let mut terminal = OnTerminal::start(run.command());
    terminal.wait_for("bivouac: starting box.qcow2 (");
    terminal.wait_for(" s): [");
    terminal.wait_for("here\r\n");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
    let seen = terminal.seen();
    // The line is cut to the width of the terminal, and has gone before the command's first word.
    let (before, after) = seen.rsplit_once("here\r\n").unwrap();
    assert!(before.ends_with("\r\u{1b}[2K"), "{before:?}");
    assert_eq!(after, "");
    assert!(!before.contains('\n'), "{before:?}");
}

#[test]
fn a_terminal_that_draws_nothing_anew_and_quiet_have_no_status_line() {
    for (option, kind) in [("--quiet", "xterm"), ("--net=none", "dumb")] {
        let run = run_tiny("poweroff").arg(option).env("TERM", kind);
        let mut terminal = OnTerminal::start(run.command());
        assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
        let seen = terminal.seen();
        assert!(!seen.contains("starting"), "{seen:?}");
    }
}
