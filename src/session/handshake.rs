//! The exchange of hellos: ours with a fresh nonce, and the agent's, which repeats it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::error::{Seen, SessionError};
use crate::protocol::{Decoder, Frame, Hello, Nonce, PROTOCOL, Role, WireError, put_hello};
use crate::sys;

/// How many bytes of noise are skipped. A port's stale bytes are a buffer or two.
const MAX_NOISE: u64 = 16 << 20;

/// How many hellos with another nonce are skipped.
const MAX_STALE: u64 = 1000;

/// Says hello. Returns the stream, the decoder (which may hold bytes that followed), and what
/// the agent says about itself.
pub(super) async fn exchange(
    mut stream: UnixStream,
    deadline: Duration,
    keeps_commands: bool,
) -> Result<(UnixStream, Decoder, Agent), SessionError> {
    let mut seen = Seen::default();
    let found =
        tokio::time::timeout(deadline, converse(&mut stream, &mut seen, keeps_commands)).await;
    let (decoder, agent) = found.unwrap_or(Err(SessionError::Silent { deadline, seen }))?;
    Ok((stream, decoder, agent))
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub program: String,
    pub is_emergency: bool,
}

fn check(seen: Seen) -> Result<(), SessionError> {
    match seen.skipped <= MAX_NOISE && seen.stale <= MAX_STALE {
        true => Ok(()),
        false => Err(SessionError::Noise(seen)),
    }
}

async fn converse(
    stream: &mut UnixStream,
    seen: &mut Seen,
    keeps_commands: bool,
) -> Result<(Decoder, Agent), SessionError> {
    let ours = Hello {
        from: Role::Host,
        protocol: PROTOCOL,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: Nonce(random()?),
        emergency: false,
        keeps_commands,
    };
    let mut bytes = Vec::new();
    put_hello(&mut bytes, &ours)?;
    let lost = SessionError::of_channel;
    stream.write_all(&bytes).await.map_err(lost)?;
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.map_err(lost)?;
        if n == 0 {
            return Err(SessionError::Closed);
        }
        decoder.push(&buffer[..n]);
        while let Some(frame) = decoder.next()? {
            let Frame::Hello(theirs) = frame else {
                let what = format!("a frame of kind {}", frame.kind());
                return Err(WireError::OutOfOrder(what).into());
            };
            if theirs.from == Role::Agent && theirs.nonce == ours.nonce {
                return Ok((decoder, accept(theirs)?));
            }
            // The answer to an earlier host, or an echo of our own hello.
            seen.stale += 1;
            decoder.seek_again();
            check(*seen)?;
        }
        seen.skipped = decoder.skipped();
        check(*seen)?;
    }
}

fn accept(hello: Hello) -> Result<Agent, SessionError> {
    let program = hello.program.chars().take(40);
    if hello.protocol != PROTOCOL {
        return Err(SessionError::Version {
            theirs: hello.protocol,
            program: program.collect(),
        });
    }
    Ok(Agent {
        program: program.flat_map(char::escape_debug).collect(),
        is_emergency: hello.emergency,
    })
}

/// Unpredictable bytes, from getrandom(2): there need be no /dev.
pub fn random<const N: usize>() -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    sys::random(&mut bytes).map_err(|error| SessionError::Channel(Arc::new(error)))?;
    Ok(bytes)
}
