//! Commands on a terminal.

use bivouac::protocol::WindowSize;
use bivouac::session::{Exec, ExecEnd, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Agent, sh};

async fn on_terminal(session: &Session, script: &str) -> Exec {
    let mut command = sh(script);
    command.pty = Some(WindowSize {
        rows: 24,
        columns: 80,
    });
    session.exec(command).await.unwrap()
}

#[tokio::test]
async fn a_terminal_has_its_size_and_is_resized() {
    let (_agent, session) = Agent::with_session().await;
    let script = "stty size; tty -s && echo tty; trap 'stty size; exit 6' WINCH; echo ready; \
                  while :; do sleep 0.01; done";
    let mut exec = on_terminal(&session, script).await;
    let mut stdout = exec.stdout.take().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 100];
    while !text.contains("ready") {
        let n = stdout.read(&mut buffer).await.unwrap();
        text += std::str::from_utf8(&buffer[..n]).unwrap();
    }
    let size = WindowSize {
        rows: 50,
        columns: 132,
    };
    exec.resize(size).await.unwrap();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "24 80\r\ntty\r\nready\r\n50 132\r\n");
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(6));
}

#[tokio::test]
async fn what_a_command_wrote_last_is_not_lost() {
    let (_agent, session) = Agent::with_session().await;
    for _ in 0..30 {
        let mut exec = on_terminal(&session, "seq 1 2000").await;
        let mut text = String::new();
        let stdout = exec.stdout.take().unwrap();
        { stdout }.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.lines().count(), 2000);
        assert!(text.ends_with("1999\r\n2000\r\n"));
    }
}

#[tokio::test]
async fn keys_and_the_end_of_input_reach_it() {
    let (_agent, session) = Agent::with_session().await;
    let mut exec = on_terminal(&session, "stty -echo; echo go; cat; exit 8").await;
    let mut stdin = exec.stdin.take().unwrap();
    let mut stdout = exec.stdout.take().unwrap();
    let mut go = [0; 4];
    stdout.read_exact(&mut go).await.unwrap();
    stdin.write_all(b"line\n").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "line\r\n");
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(8));
    // Ctrl-C is a key, and the terminal makes a signal of it.
    let mut exec = on_terminal(&session, "echo go; exec sleep 1000").await;
    let mut stdin = exec.stdin.take().unwrap();
    exec.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut go)
        .await
        .unwrap();
    stdin.write_all(b"\x03").await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Signalled(2));
}

#[tokio::test]
async fn a_command_without_a_terminal_cannot_be_resized() {
    let (_agent, session) = Agent::with_session().await;
    let mut exec = session.exec(sh("sleep 1000")).await.unwrap();
    let size = WindowSize {
        rows: 1,
        columns: 1,
    };
    assert_eq!(exec.resize(size).await.unwrap_err().errno(), Some(25));
    // Nothing else ends it: the agent of this test is killed.
    exec.signal(9).await.unwrap();
    exec.wait().await.unwrap();
}
