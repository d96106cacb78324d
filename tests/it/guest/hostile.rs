//! Guests that break the protocol, or never speak: the host ends with an error that names what
//! was wrong, and holds no more memory than before.

use std::time::Duration;

use bivouac::protocol::{
    AgentMessage, Hello, Nonce, Notice, PROTOCOL, RemoteError, Reply, Response, Role, WINDOW,
    put_control, put_credit, put_data, put_end, put_hello, put_placed, put_stop, put_taken,
};
use bivouac::session::{Session, SessionError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fake::{fake, hello_bytes, started, stream};
use super::sh;
use crate::env::cases::Cases;

/// What a session says that begins with a guest which answers the hello with `bytes`.
async fn refused(change: impl FnOnce(Hello) -> Vec<u8>) -> String {
    refused_within(Duration::from_secs(1), change).await
}

async fn refused_within(deadline: Duration, change: impl FnOnce(Hello) -> Vec<u8>) -> String {
    let (mut fake, host) = fake();
    let other = async {
        let hello = fake.hello().await;
        fake.say(&change(hello)).await;
        // It stays on the line.
        fake.hear().await;
    };
    let connect = Session::connect(host, deadline);
    let (result, ()) = tokio::join!(connect, other);
    result.unwrap_err().to_string()
}

/// What an `exec` and the session say, where the guest answers the request with `bytes`.
async fn violated(answer: impl FnOnce(u64) -> Vec<u8>) -> String {
    let (mut fake, host) = fake();
    let other = async {
        let request = fake.begin().await;
        fake.say(&answer(request.id)).await;
        while fake.hear().await.is_some() {}
    };
    let before = super::peak("self");
    let work = async {
        let session = Session::connect(host, super::DEADLINE).await.unwrap();
        let error = match session.exec(sh("true")).await {
            Err(error) => error,
            Ok(mut exec) => {
                let mut stdout = exec.stdout.take().unwrap();
                let waited = exec.wait().await.unwrap_err().to_string();
                // Whoever waits for anything gets the same reason.
                let mut bytes = Vec::new();
                if let Err(error) = stdout.read_to_end(&mut bytes).await {
                    assert_eq!(error.to_string(), waited);
                }
                let writing = exec.stdin.as_mut().unwrap().write(b"x").await;
                assert_eq!(writing.unwrap_err().to_string(), waited);
                session.ended().await
            }
        };
        assert_eq!(session.ended().await.to_string(), error.to_string());
        let next = session.sync().await.unwrap_err();
        assert_eq!(next.to_string(), error.to_string());
        error.to_string()
    };
    let (error, ()) = tokio::join!(work, other);
    let grown = super::peak("self").saturating_sub(before);
    assert!(grown < 8 << 10, "{error}: {grown} KiB");
    error
}

#[tokio::test]
async fn hellos_that_are_no_answer_are_named() {
    let errors = [
        refused(|_| Vec::new()).await,
        refused(|_| b"GRUB loading...".repeat(100)).await,
        refused(|hello| {
            let nonce = Nonce([0; 16]);
            hello_bytes(&Hello { nonce, ..hello })
        })
        .await,
        // Its own words, as from a terminal that echoes.
        refused(|hello| {
            let from = Role::Host;
            hello_bytes(&Hello { from, ..hello })
        })
        .await,
        refused(|hello| {
            let program = "2.0\x1b[2J".to_owned();
            hello_bytes(&Hello {
                protocol: 7,
                program,
                ..hello
            })
        })
        .await,
        refused(|hello| {
            let bytes = hello_bytes(&hello);
            bytes[..bytes.len() - 1].to_vec()
        })
        .await,
        // These end by their number, however long that takes.
        refused_within(super::DEADLINE, |_| vec![0; (16 << 20) + 1]).await,
        refused_within(super::DEADLINE, |hello| {
            let nonce = Nonce([0; 16]);
            hello_bytes(&Hello { nonce, ..hello }).repeat(2000)
        })
        .await,
    ];
    insta::assert_snapshot!("hellos", errors.join("\n"));
}

#[tokio::test]
async fn a_guest_that_hangs_up_is_told_at_once() {
    let (fake, host) = fake();
    drop(fake);
    let error = Session::connect(host, super::DEADLINE).await.unwrap_err();
    assert!(matches!(error, SessionError::Closed), "{error}");
}

#[tokio::test]
async fn stale_bytes_and_answers_to_others_are_skipped() {
    let (mut fake, host) = fake();
    let other = async {
        let hello = fake.hello().await;
        let mut stale = b"tail of a frame".to_vec();
        let nonce = Nonce([9; 16]);
        let old = hello_bytes(&Hello {
            nonce,
            ..hello.clone()
        });
        stale.extend(&old);
        put_data(&mut stale, stream(4), b"old data");
        put_control(&mut stale, &started(3)).unwrap();
        stale.extend(&old[..40]);
        stale.extend(hello_bytes(&hello));
        fake.say(&stale).await;
        fake.hear().await
    };
    let work = async {
        let session = Session::connect(host, super::DEADLINE).await.unwrap();
        assert_eq!(session.program(), "9.9");
    };
    let (_, frame) = tokio::join!(work, other);
    assert_eq!(frame, None, "a session that is dropped hangs up");
}

#[test]
fn every_violation_ends_the_session_with_its_name() {
    let say = |message: AgentMessage| {
        let mut bytes = Vec::new();
        put_control(&mut bytes, &message).unwrap();
        bytes
    };
    let raw = |length: u32, kind: u8, stream: u32| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(stream.to_le_bytes());
        bytes
    };
    let json = |text: &[u8]| [raw(text.len() as u32, 2, 0), text.to_vec()].concat();
    let then = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = say(started(1));
        put(&mut bytes);
        bytes
    };
    let error = || RemoteError::new(bivouac::protocol::ErrorStage::File, "x");
    // stdin is stream 1, stdout 4, stderr 6 of a session's first command.
    let violations: Vec<(&str, Vec<u8>)> = vec![
        // Frames.
        ("a length beyond every frame", raw(u32::MAX - 1, 3, 4)),
        ("a control frame that is too long", raw((1 << 20) + 1, 2, 0)),
        ("a kind that is 0", raw(0, 0, 0)),
        ("a kind that is unknown", raw(0, 200, 9)),
        ("a control frame on a stream", raw(5, 2, 4)),
        ("data on no stream", raw(1, 3, 0)),
        ("data without any", raw(0, 3, 4)),
        ("a hello that is too long", raw(100, 1, 0)),
        (
            "a hello that is none",
            b"\xff\xff\xff\xffbivouac.wine.................".to_vec(),
        ),
        // Messages.
        ("a message that is none", json(b"{}")),
        ("a reply without a result", json(b"{\"reply\":{\"id\":1}}")),
        ("a message that is not text", json(b"\xff\xfe")),
        ("brackets without end", json(&b"[".repeat(1 << 20))),
        (
            "a message nested too deep",
            json(&[b"{\"notice\":".repeat(1 << 16), b"1".to_vec()].concat()),
        ),
        (
            "a message with a name of control characters",
            json(b"{\"\\u001b[2J\":1}"),
        ),
        ("a reply to nobody", say(started(2))),
        (
            "a reply that answers another request",
            say(AgentMessage::Reply(Reply {
                id: 1,
                result: Ok(Response::Done),
            })),
        ),
        (
            "a link for a command",
            say(AgentMessage::Reply(Reply {
                id: 1,
                result: Ok(Response::Link("x".into())),
            })),
        ),
        (
            "a broken stream that nothing writes to",
            say(AgentMessage::Notice(Notice::Broken {
                stream: stream(4),
                error: error(),
            })),
        ),
        (
            "a violation told by the guest",
            say(AgentMessage::Notice(Notice::Violation {
                text: "no\x1b".repeat(1000),
            })),
        ),
        (
            "a reply twice",
            then(&|out| put_control(out, &started(1)).unwrap()),
        ),
        (
            "an end of unpacking that nobody began",
            then(&|out| {
                let result = Ok(1);
                put_control(
                    out,
                    &AgentMessage::Notice(Notice::Unpacked { id: 1, result }),
                )
                .unwrap();
            }),
        ),
        (
            "a second hello",
            then(&|out| {
                put_hello(
                    out,
                    &Hello {
                        from: Role::Agent,
                        protocol: PROTOCOL,
                        program: String::new(),
                        nonce: Nonce([1; 16]),
                        emergency: false,
                        keeps_commands: false,
                    },
                )
                .unwrap()
            }),
        ),
        // Streams.
        (
            "data on an unknown stream",
            then(&|out| put_data(out, stream(8), b"x")),
        ),
        (
            "data on the stream to the guest",
            then(&|out| put_data(out, stream(1), b"x")),
        ),
        (
            "data beyond the window",
            then(&|out| put_data(out, stream(4), &vec![0; WINDOW as usize + 1])),
        ),
        (
            "placed data that was not asked for",
            then(&|out| put_placed(out, stream(4), 0, 1)),
        ),
        (
            "placed data beyond the window",
            then(&|out| put_placed(out, stream(4), 0, WINDOW + 1)),
        ),
        (
            "a taken frame from the guest",
            then(&|out| put_taken(out, 1)),
        ),
        (
            "data behind the end",
            then(&|out| {
                put_end(out, stream(4));
                put_data(out, stream(4), b"x");
            }),
        ),
        (
            "an end of an unknown stream",
            then(&|out| put_end(out, stream(2))),
        ),
        (
            "credit beyond the window",
            then(&|out| put_credit(out, stream(1), 1)),
        ),
        (
            "credit for what comes from the guest",
            then(&|out| put_credit(out, stream(4), 1)),
        ),
        (
            "a stop of what comes from the guest",
            then(&|out| put_stop(out, stream(6))),
        ),
    ];
    let mut errors = Vec::new();
    let mut cases = Cases::default();
    for (name, bytes) in violations {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        cases.case(name, || {
            let error = runtime.block_on(violated(|_| bytes));
            errors.push(format!("{name}: {error}"));
        });
    }
    insta::assert_snapshot!("violations", errors.join("\n"));
}

#[tokio::test]
async fn torn_frames_are_waited_for_and_then_the_end_is_told() {
    let (mut fake, host) = fake();
    let other = async move {
        let request = fake.begin().await;
        let mut bytes = Vec::new();
        put_control(&mut bytes, &started(request.id)).unwrap();
        // Every byte alone, and the last frame never whole.
        put_data(&mut bytes, stream(4), b"whole");
        put_data(&mut bytes, stream(4), b"never whole");
        bytes.pop();
        for byte in bytes {
            fake.say(&[byte]).await;
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        let session = Session::connect(host, super::DEADLINE).await.unwrap();
        let mut exec = session.exec(sh("true")).await.unwrap();
        let mut text = String::new();
        let mut stdout = exec.stdout.take().unwrap();
        let mut whole = [0; 5];
        stdout.read_exact(&mut whole).await.unwrap();
        assert_eq!(&whole, b"whole");
        let error = stdout.read_to_string(&mut text).await.unwrap_err();
        (
            error.to_string(),
            exec.wait().await.unwrap_err().to_string(),
        )
    };
    let (errors, ()) = tokio::join!(work, other);
    let text = "the guest closed the session".to_owned();
    assert_eq!(errors, (text.clone(), text));
}

#[tokio::test]
async fn a_list_with_a_record_that_is_too_long_is_refused() {
    let (mut fake, host) = fake();
    let other = async {
        let request = fake.begin().await;
        let result = Ok(Response::Opened { stat: None });
        let mut bytes = Vec::new();
        put_control(
            &mut bytes,
            &AgentMessage::Reply(Reply {
                id: request.id,
                result,
            }),
        )
        .unwrap();
        put_data(&mut bytes, stream(2), &vec![b'x'; WINDOW as usize]);
        fake.say(&bytes).await;
        while fake.hear().await.is_some() {}
    };
    let work = async {
        let session = Session::connect(host, super::DEADLINE).await.unwrap();
        let root = std::path::Path::new("/");
        let mut entries = session.list(super::at(root, "/")).await.unwrap();
        entries.next().await.unwrap_err().to_string()
    };
    let (error, ()) = tokio::join!(work, other);
    let text = "the guest broke the protocol: it sent a record of 2021161080 bytes, more than the limit of 131072";
    assert_eq!(error, text);
}

#[tokio::test]
async fn a_guest_that_never_answers_a_request_can_be_left() {
    let (mut fake, host) = fake();
    let other = async {
        fake.begin().await;
        while fake.hear().await.is_some() {}
    };
    let work = async {
        let session = Session::connect(host, super::DEADLINE).await.unwrap();
        let exec = session.exec(sh("true"));
        let result = tokio::time::timeout(Duration::from_millis(50), exec).await;
        assert!(result.is_err());
    };
    tokio::join!(work, other);
}
