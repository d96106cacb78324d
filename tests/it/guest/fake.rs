//! A guest's end of a session that can send any bytes.

use bivouac::protocol::{
    AgentMessage, Decoder, Frame, Hello, PROTOCOL, Reply, Request, Response, Role, StreamId, parse,
    put_hello,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The guest's end of a session.
pub struct Fake {
    pub stream: UnixStream,
    decoder: Decoder,
}

impl Fake {
    /// The next frame of the host's.
    pub async fn hear(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.decoder.push(&buffer[..n]),
            }
        }
    }

    /// Hears the hello, and gives the answer that a good agent would give.
    pub async fn hello(&mut self) -> Hello {
        let Some(Frame::Hello(hello)) = self.hear().await else {
            panic!("no hello");
        };
        assert_eq!((hello.from, hello.protocol), (Role::Host, PROTOCOL));
        Hello {
            from: Role::Agent,
            program: "9.9".to_owned(),
            ..hello
        }
    }

    /// Says what it likes; the host may already have hung up.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Answers the hello, and gives the next request.
    pub async fn begin(&mut self) -> Request {
        let hello = self.hello().await;
        self.say(&hello_bytes(&hello)).await;
        match self.hear().await {
            Some(Frame::Control(json)) => parse("request", &json).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

pub fn fake() -> (Fake, UnixStream) {
    let (stream, host) = UnixStream::pair().unwrap();
    let decoder = Decoder::new();
    (Fake { stream, decoder }, host)
}

pub fn hello_bytes(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_hello(&mut bytes, hello).unwrap();
    bytes
}

pub fn stream(number: u32) -> StreamId {
    StreamId::new(number).unwrap()
}

pub fn started(id: u64) -> AgentMessage {
    let result = Ok(Response::Started { pid: 1 });
    AgentMessage::Reply(Reply { id, result })
}
