//! A host that joins a conversation, as with a branch of a machine: commands go on without it.

use std::fs;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use bivouac::session::{Exec, Session, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::{Agent, DEADLINE, finish, sh};
use crate::env::wait::soon;

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().count()
}

/// Does some work, and drops everything that still runs: a session is not ended by it, but just gone.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(work)
}

/// Starts a command that writes more than any pipe or window holds and counts in a file, and one that
/// reads.
async fn start_commands(dir: &Path, stream: &StdStream) -> [Exec; 2] {
    let session = Session::connect(copy(stream), DEADLINE).await.unwrap();
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
    [writer, reader]
}

fn copy(stream: &StdStream) -> UnixStream {
    UnixStream::from_std(stream.try_clone().unwrap()).unwrap()
}

fn writes_on(count: &Path) {
    let before = lines(count);
    soon("it writes on", || lines(count) > before + 20);
}

#[test]
fn commands_go_on_without_the_host_that_started_them() {
    let dir = tempfile::tempdir().unwrap();
    let (count, input) = (dir.path().join("count"), dir.path().join("input"));
    let (_agent, stream) = run(async {
        let (agent, stream) = Agent::start();
        (agent, stream.into_std().unwrap())
    });
    drop(run(start_commands(dir.path(), &stream)));
    // Twice: they are not of the conversation that began last.
    for _ in 0..2 {
        run(async {
            let session = Session::join(copy(&stream), DEADLINE).await.unwrap();
            // Numbers of requests and streams begin anew.
            let told = finish(&session, sh("echo new")).await;
            assert_eq!(told.stdout, b"new\n");
        });
        writes_on(&count);
        let text = fs::read_to_string(&input).unwrap();
        assert_eq!(text, "early\n", "its input stays open");
    }
    // A conversation that does not join ends them.
    run(async {
        let session = Session::connect(copy(&stream), DEADLINE).await.unwrap();
        assert_eq!(finish(&session, sh("echo last")).await.stdout, b"last\n");
    });
    soon("the command has ended", || {
        let before = lines(&count);
        std::thread::sleep(Duration::from_millis(200));
        lines(&count) == before
    });
}
