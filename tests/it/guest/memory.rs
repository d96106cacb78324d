//! What is under way is bounded: neither side grows with what passes, or with who dawdles.

use std::time::Duration;

use bivouac::protocol::WINDOW;
use bivouac::session::{Command, ExecEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Agent, sh};

/// 32 MiB, in KiB: the most that either side may ever have.
const LIMIT: u64 = 32 << 10;

/// A length that no frame, window or pipe has a common divisor with: a piece that is lost, or
/// comes twice, or early, does not fit what follows.
const PERIOD: usize = (1 << 20) + 7;

fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    // Twice, so that a piece may begin anywhere.
    let once: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    once.repeat(2)
}

#[tokio::test]
async fn a_gibibyte_through_cat_is_identical_and_leaves_no_memory_behind() {
    const TOTAL: usize = 1 << 30;
    const STEP: usize = 1 << 18;
    let (agent, session) = Agent::with_session().await;
    let pattern = pattern();
    let before = super::peak("self");
    let mut exec = session.exec(Command::new(["cat"])).await.unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    let mut stdout = exec.stdout.take().unwrap();
    let write = async {
        for offset in (0..TOTAL).step_by(STEP) {
            let at = offset % PERIOD;
            stdin.write_all(&pattern[at..at + STEP]).await.unwrap();
        }
        stdin.shutdown().await.unwrap();
    };
    let read = async {
        let mut buffer = vec![0; STEP];
        for offset in (0..TOTAL).step_by(STEP) {
            stdout.read_exact(&mut buffer).await.unwrap();
            let at = offset % PERIOD;
            assert!(
                buffer == pattern[at..at + STEP],
                "differs within {STEP} of {offset}"
            );
        }
        assert_eq!(stdout.read(&mut buffer).await.unwrap(), 0);
    };
    tokio::join!(write, read);
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Exited(0));
    let ours = super::peak("self").saturating_sub(before);
    assert!(agent.peak() < LIMIT, "the agent had {} KiB", agent.peak());
    assert!(ours < LIMIT, "this side grew by {ours} KiB");
    println!("agent {} KiB, host + {ours} KiB", agent.peak());
}

#[tokio::test]
async fn a_slow_reader_holds_the_command_back_and_nothing_grows() {
    let (agent, session) = Agent::with_session().await;
    let script = "head -c 100000000 /dev/zero && echo done >&2";
    let mut exec = session.exec(sh(script)).await.unwrap();
    let mut stderr = exec.stderr.take().unwrap();
    let mut note = [0; 5];
    let early = tokio::time::timeout(Duration::from_millis(500), stderr.read_exact(&mut note));
    assert!(early.await.is_err(), "it ran ahead of its reader");
    let mut stdout = exec.stdout.take().unwrap();
    // Another stream is not held up by this one.
    let finished = super::finish(&session, sh("echo quick")).await;
    assert_eq!(finished.stdout, b"quick\n");
    let mut total = 0;
    let mut buffer = vec![0; 100_000];
    while let n @ 1.. = stdout.read(&mut buffer).await.unwrap() {
        total += n;
    }
    assert_eq!(total, 100_000_000);
    stderr.read_exact(&mut note).await.unwrap();
    assert_eq!(&note, b"done\n");
    assert!(
        agent.peak() < LIMIT / 2,
        "the agent had {} KiB",
        agent.peak()
    );
}

#[tokio::test]
async fn a_command_that_does_not_read_holds_its_writer_back() {
    let (agent, session) = Agent::with_session().await;
    let mut exec = session.exec(sh("sleep 1000")).await.unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    let mut written = 0;
    let flood = async {
        loop {
            written += stdin.write(&[7; 50_000]).await.unwrap();
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_millis(500), flood).await;
    let window = WINDOW as usize;
    assert!((window..2 * window).contains(&written), "{written}");
    assert!(
        agent.peak() < LIMIT / 2,
        "the agent had {} KiB",
        agent.peak()
    );
    exec.signal(9).await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), ExecEnd::Signalled(9));
}
