//! Completion scripts.

use std::io::Write;
use std::process::{Command, Stdio};

use super::bivouac;

fn script(shell: &str) -> String {
    let output = bivouac().args(["completions", shell]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell);
        for word in [
            "run",
            "chain",
            "inspect",
            "doctor",
            "completions",
            "overlay-dir",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_can_read_its_script() {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(script("bash").as_bytes()).unwrap();
    drop(stdin);
    assert!(bash.wait().unwrap().success());
}

#[test]
fn bash_completes_an_option_of_run() {
    // As bash does: the function of the script, called for the words typed so far.
    let line = format!(
        "{}\nCOMP_WORDS=(bivouac run --overlay-) COMP_CWORD=2\n\
         _bivouac bivouac --overlay- run\necho \"${{COMPREPLY[@]}}\"\n",
        script("bash")
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--overlay-dir\n");
}
