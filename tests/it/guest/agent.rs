//! The agent against a host that is rude, confused, or not the only one.

use std::time::{Duration, Instant};

use bivouac::protocol::{
    AgentMessage, Decoder, Frame, Hello, Nonce, Notice, Operation, PROTOCOL, Request, Role,
    StreamId, parse, put_control, put_data, put_hello,
};
use bivouac::session::{Command, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Agent, DEADLINE, sh};

/// A host that says what it likes.
struct Rude {
    stream: UnixStream,
    decoder: Decoder,
}

impl Rude {
    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn hear(&mut self) -> Frame {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return frame;
            }
            let n = self.stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "the agent is gone");
            self.decoder.push(&buffer[..n]);
        }
    }

    async fn greet(&mut self) {
        let hello = Hello {
            from: Role::Host,
            protocol: PROTOCOL,
            program: "test".to_owned(),
            nonce: Nonce([3; 16]),
            emergency: false,
            keeps_commands: false,
        };
        let mut bytes = Vec::new();
        put_hello(&mut bytes, &hello).unwrap();
        self.say(&bytes).await;
        match self.hear().await {
            Frame::Hello(answer) => {
                assert_eq!((answer.from, answer.nonce), (Role::Agent, hello.nonce));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_host_that_breaks_the_protocol_is_told_and_may_begin_again() {
    let (_agent, stream) = Agent::start();
    let decoder = Decoder::new();
    let mut host = Rude { stream, decoder };
    let mut wrong_direction = Vec::new();
    let at = super::at(std::path::Path::new("/"), "/");
    let out = StreamId::new(3).unwrap();
    let op = Operation::List { at, out };
    put_control(&mut wrong_direction, &Request { id: 1, op }).unwrap();
    let mut not_open = Vec::new();
    put_data(&mut not_open, StreamId::new(1).unwrap(), b"x");
    for (bytes, words) in [
        (&b"\x09\0\0\0\x09\0\0\0\0"[..], "a frame of unknown kind 9"),
        (
            b"\x02\0\0\0\x02\0\0\0\0{}",
            "a malformed request: missing field `id`",
        ),
        (&wrong_direction, "a new stream 3, out of order"),
        (
            &not_open,
            "a frame of kind 3 on stream 1, which is not open for it",
        ),
    ] {
        host.greet().await;
        host.say(bytes).await;
        match host.hear().await {
            Frame::Control(json) => match parse("message", &json).unwrap() {
                AgentMessage::Notice(Notice::Violation { text }) => {
                    assert!(text.starts_with(words), "{text}");
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        host.decoder.reset();
    }
}

#[tokio::test]
async fn a_new_hello_ends_what_the_old_conversation_had_begun() {
    let (_agent, stream) = Agent::start();
    let std = stream.into_std().unwrap();
    let copy = UnixStream::from_std(std.try_clone().unwrap()).unwrap();
    let stream = UnixStream::from_std(std).unwrap();
    let first = Session::connect(copy, DEADLINE).await.unwrap();
    let exec = first.exec(Command::new(["sleep", "1000"])).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(exec.pid().unwrap());
    // Their task must not eat what is for the next.
    drop((first, exec));
    tokio::task::yield_now().await;
    let second = Session::connect(stream, DEADLINE).await.unwrap();
    let start = Instant::now();
    while nix::sys::signal::kill(pid, None).is_ok() {
        assert!(start.elapsed() < DEADLINE, "it runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let finished = super::finish(&second, sh("echo again")).await;
    assert_eq!(finished.stdout, b"again\n");
}

#[tokio::test]
async fn noise_before_the_hello_is_skipped() {
    let (_agent, mut stream) = Agent::start();
    stream
        .write_all(b"\x01\x02half a frame \xff\xff")
        .await
        .unwrap();
    stream.write_all(&[0xff; 10_000]).await.unwrap();
    let session = Session::connect(stream, DEADLINE).await.unwrap();
    assert_eq!(session.program(), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn too_many_commands_are_refused_and_none_is_lost() {
    let (agent, session) = Agent::with_session().await;
    let mut running = Vec::new();
    let error = loop {
        match session.exec(sh("read line; exit 3")).await {
            Ok(exec) => running.push(exec),
            Err(error) => break error,
        }
    };
    assert_eq!((running.len(), error.errno()), (100, Some(11)));
    for exec in &mut running {
        exec.stdin = None;
    }
    for mut exec in running {
        let end = exec.wait().await.unwrap();
        assert_eq!(end, bivouac::session::ExecEnd::Exited(3));
    }
    assert!(
        agent.peak() < 16 << 10,
        "the agent had {} KiB",
        agent.peak()
    );
}
