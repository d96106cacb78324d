//! A command's streams: apart, binary-safe, of any length, in constant memory.

use std::io::{Read, Write};
use std::process::Stdio;

use super::chroot;
use crate::env::guests::guest;
use crate::env::pty::OnTerminal;

#[test]
fn output_and_errors_come_apart_and_user_directory_and_variables_are_set() {
    let script = "echo out; echo err >&2; id -u; id -g; id -G; pwd; echo $WORD; echo x > /tmp/x; hostname; ifconfig lo | grep -o RUNNING";
    let options = ["-u", "daemon", "-w", "/var/log", "-e", "WORD=two words"];
    let finished = chroot(&options, &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(
        finished.stdout,
        "out\n1\n1\n1 7\n/var/log\ntwo words\nbivouac\nRUNNING\n"
    );
    assert_eq!(finished.stderr, "err\n");
}

/// 96 MiB of every byte, there and back; the launcher stays small.
#[test]
fn input_comes_back_byte_by_byte_and_the_launcher_stays_small() {
    let mut command = chroot(&[], &["cat"]).command();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
    let sent = block.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..96 {
            stdin.write_all(&sent).unwrap();
        }
    });
    let mut stdout = child.stdout.take().unwrap();
    let mut received = vec![0; block.len()];
    for _ in 0..96 {
        stdout.read_exact(&mut received).unwrap();
        assert!(received == block, "a byte differs");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert_eq!(
        stdout.read(&mut received).unwrap(),
        0,
        "more came than was sent"
    );
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    // A debug build is some MiB larger than a release.
    assert!(peak < 32 << 10, "{peak} kB");
}

#[test]
fn closed_streams_are_no_obstacle() {
    let program = env!("CARGO_BIN_EXE_bivouac");
    let image = guest("box.qcow2");
    let line = format!(
        "'{program}' chroot '{}' -- sh -c 'cat; exit 5' <&- >&- 2>&-",
        image.display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &line])
        .env("BIVOUAC_ACCEL", "tcg")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(5));
}

/// The default command is the image's shell, on a terminal where there is one.
#[test]
fn a_shell_on_a_terminal_is_interactive_and_gives_the_terminal_back() {
    let mut shell = std::process::Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "--noediting", "-i"])
        .env("PS1", "prompt$ ")
        .env("BIVOUAC_ACCEL", "tcg");
    let mut terminal = OnTerminal::start(shell);
    terminal.wait_for("prompt$ ");
    let program = env!("CARGO_BIN_EXE_bivouac");
    let image = guest("box.qcow2");
    terminal.press(&format!("'{program}' chroot '{}'\r", image.display()));
    terminal.wait_for("/ # ");
    terminal.press("stty size; echo $((6*7)); tty\r");
    terminal.wait_for("42");
    terminal.wait_for("/dev/pts/");
    // Stopped, it gives the shell its terminal; continued, it takes it again.
    let prompts = |terminal: &mut OnTerminal, count| {
        let seen = |this: &mut OnTerminal| this.seen().matches("prompt$ ").count();
        terminal.wait_until("the shell asks", |this| seen(this) == count);
    };
    terminal.press("\x01z");
    prompts(&mut terminal, 2);
    terminal.press("fg\r");
    terminal.wait_until("the terminal is raw", OnTerminal::is_raw_now);
    terminal.press("exit 9\r");
    prompts(&mut terminal, 3);
    terminal.press("echo status $?.\r");
    terminal.wait_for("status 9.");
    terminal.press("exit\r");
    terminal.wait();
}

#[test]
fn a_command_without_a_terminal_writes_only_text_to_ours() {
    let command = chroot(&[], &["printf", "a\\033[2J\\033]0;x\\007\\n"]).command();
    let mut terminal = OnTerminal::start(command);
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
    terminal.wait_for(r"a\x1b[2J\x1b]0;x\x07");
    assert!(
        !terminal.seen().contains("\u{1b}[2J"),
        "{:?}",
        terminal.seen()
    );
}

/// What the command left behind holds its output open for ever.
#[test]
fn a_process_in_the_background_that_holds_the_output_is_not_waited_for() {
    let script = "echo here; sleep 100000 & exit 3";
    let finished = chroot(&["--timeout", "0"], &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(3), "{finished:?}");
    assert_eq!(finished.stdout, "here\n");
}
