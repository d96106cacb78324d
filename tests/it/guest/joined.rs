//! A host that joins a conversation, as with a branch of a machine: commands go on without it.

use std::fs;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use bivouac::session::{Session, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::{Agent, DEADLINE, finish, sh};
use crate::env::wait::soon;

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().count()
}

/// An agent with a command that writes more than any pipe or window holds and counts in a file, and one
/// that reads; and its channel, which does not hang up when a session ends.
async fn with_commands(dir: &Path) -> (Agent, StdStream) {
    let (agent, stream) = Agent::start();
    let stream = stream.into_std().unwrap();
    let session = Session::connect(copy(&stream), DEADLINE).await.unwrap();
    let all = Stdio {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let count = dir.join("count");
    let script = "while :; do head -c 65536 /dev/zero; echo error >&2; echo >>";
    let script = format!("{script}{}; done", count.display());
    let writer = session.exec_with(sh(&script), all).await.unwrap();
    let input = dir.join("input");
    let script = format!("cat >{0}; echo end >>{0}", input.display());
    let mut reader = session.exec_with(sh(&script), all).await.unwrap();
    let stdin = reader.stdin.as_mut().unwrap();
    stdin.write_all(b"early\n").await.unwrap();
    while lines(&count) == 0 || lines(&input) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Dropped streams would be stopped and ended; those of a machine that was saved are just gone.
    std::mem::forget((writer, reader));
    (agent, stream)
}

fn copy(stream: &StdStream) -> UnixStream {
    UnixStream::from_std(stream.try_clone().unwrap()).unwrap()
}

fn settles(count: &Path) {
    soon("the command has ended", || {
        let before = lines(count);
        std::thread::sleep(Duration::from_millis(200));
        lines(count) == before
    });
}

#[tokio::test]
async fn commands_go_on_without_the_host_that_started_them() {
    let dir = tempfile::tempdir().unwrap();
    let (_agent, stream) = with_commands(dir.path()).await;
    let session = Session::join(copy(&stream), DEADLINE).await.unwrap();
    let count = dir.path().join("count");
    let before = lines(&count);
    soon("it writes on", || lines(&count) > before + 20);
    // Numbers of requests and streams begin anew.
    let told = finish(&session, sh("echo new")).await;
    assert_eq!(told.stdout, b"new\n");
    let input = fs::read_to_string(dir.path().join("input")).unwrap();
    assert_eq!(input, "early\n", "its input stays open");
    // They join a second time, and the end of the last conversation is theirs.
    let again = Session::join(copy(&stream), DEADLINE).await.unwrap();
    let before = lines(&count);
    soon("it writes on", || lines(&count) > before + 20);
    drop((session, again));
    let other = Session::connect(copy(&stream), DEADLINE).await.unwrap();
    settles(&count);
    assert_eq!(finish(&other, sh("echo last")).await.stdout, b"last\n");
}
