//! What is printed, and where that fails.

use std::process::Stdio;

use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let (chain, completions) = (["chain", "IMAGE"], ["completions", "bash"]);
    let plan = ["run", "--dry-run", "IMAGE"];
    for arguments in [&chain[..], &completions, &plan] {
        let image = guest("tiny.qcow2").into_os_string();
        let words = arguments.iter().map(|word| match *word {
            "IMAGE" => image.clone(),
            word => word.into(),
        });
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = Bivouac::new().args(words).command();
        command.stdout(full.unwrap()).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("writing standard output: No space left on device"),
            "{said}"
        );
    }
}

#[test]
fn no_control_character_out_of_a_name_reaches_the_terminal() {
    let run = Bivouac::run()
        .args(["--console-log", "/nowhere/\u{1b}]0;title\u{7}\r.log"])
        .arg(guest("tiny.qcow2"));
    let finished = run.output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let controls = |c: char| c.is_control() && c != '\n';
    assert!(!finished.stderr.contains(controls), "{finished:?}");
    assert!(
        finished.stderr.contains("\\u{1b}]0;title\\u{7}\\r.log"),
        "{finished:?}"
    );
}
