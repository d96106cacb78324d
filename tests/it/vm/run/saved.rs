//! Ctrl-A S: the machine of a console is saved under a name, and goes on.

use std::process::Stdio;

use crate::env::bivouac::Bivouac;
use crate::env::guests::{guest, tiny};
use crate::env::pty::OnTerminal;
use crate::env::residue::sha256;

fn on_terminal(run: Bivouac) -> OnTerminal {
    let mut command = run.command();
    command.stdin(Stdio::null());
    OnTerminal::start(command)
}

#[test]
fn ctrl_a_s_saves_the_machine_under_a_name_that_is_asked_for() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let here = |command: Bivouac| command.env("XDG_CACHE_HOME", dir.path());
    let image = guest("box.raw");
    let before = sha256(&image);
    let run = Bivouac::run().args(["--warm", "--prepare=echo made > /made"]);
    let mut terminal = on_terminal(here(run.args(tiny("switch")).arg(&image)));
    // Its console is there when it has been restored.
    terminal.wait_until("the machine runs", OnTerminal::is_raw_now);
    // Thought better of it, and mistyped.
    terminal.press("\u{1}s");
    terminal.wait_for("which name?");
    terminal.press("not\u{3}");
    terminal.wait_for("bivouac: not saved");
    terminal.press("\u{1}s../x\r");
    terminal.wait_for("not a name of letters");
    terminal.press("nam\u{7f}me\r");
    terminal.wait_for("saving the machine as name");
    terminal.wait_for("`bivouac run --from name` starts there");
    terminal.press("\u{1}x");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
    assert!(!terminal.seen().contains("warning"), "{}", terminal.seen());
    let script = ["--from", "name", "--", "cat", "/made"];
    let finished = here(Bivouac::run().args(script)).output();
    assert_eq!(finished.stdout, "made\n", "{finished:?}");
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(sha256(&image), before);
}

#[test]
fn a_machine_without_the_agent_is_not_saved_and_goes_on() {
    let run = Bivouac::run().args(tiny("echo")).arg(guest("tiny.qcow2"));
    let mut terminal = on_terminal(run);
    terminal.wait_for("tiny: ready");
    terminal.press("\u{1}s");
    terminal.wait_for("hint: `bivouac run --warm` starts one that can");
    terminal.press("on\r");
    terminal.wait_for("echo: on");
    terminal.press("\u{1}x");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
}
