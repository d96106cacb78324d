//! `bivouac test` on a terminal: a live line, and a shell in the machine of the case that failed.

use super::Fixture;
use crate::env::pty::OnTerminal;

#[test]
fn a_case_that_failed_gives_a_terminal_in_its_machine_as_it_stands() {
    let fixture = Fixture::new();
    let built = fixture.test(&[], &["true"]).output();
    assert_eq!(built.code(), Some(0), "{built:?}");
    let cases = ["true", "echo left > /root/behind; exit 3", "true 2"];
    let words = fixture.test(&["--on-fail=shell"], &cases);
    let mut terminal = OnTerminal::start(words.command());
    terminal.wait_for("FAIL ");
    terminal.wait_for("a shell in the machine of echo left");
    terminal.wait_until("it is raw", OnTerminal::is_raw_now);
    terminal.press("cat /root/behind | tr a-z A-Z\n");
    terminal.wait_for("LEFT");
    terminal.press("exit\n");
    assert_eq!(terminal.wait().code(), Some(1), "{}", terminal.seen());
    assert!(!terminal.is_raw());
    // The last of it may still be read when the program has ended.
    terminal.wait_for("1 passed, 1 failed, 1 not run");
    let seen = terminal.seen();
    assert!(
        seen.contains("1 of 3: 1 passed; running echo left"),
        "{seen}"
    );
    fixture.is_clean(&[]);

    // Without one nothing is started.
    let finished = fixture.test(&["--on-fail=shell"], &cases).output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(finished.stderr.contains("needs a terminal"), "{finished:?}");
}
