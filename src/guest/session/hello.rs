//! The first words: ours with a fresh nonce, and the agent's that repeat it.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::error::SessionError;
use super::owner::lost;
use crate::guest::wire::{Decoder, Frame, Hello, Nonce, PROTOCOL, Role, WireError, put_hello};

/// How many bytes of noise are waded through. A port's stale bytes are a buffer or two.
const NOISE: u64 = 16 << 20;

/// How many answers to others are waded through.
const STALE: u64 = 1000;

/// Says hello. Gives the stream with the decoder that may hold what followed, and what the agent
/// said of itself.
pub(super) async fn exchange(
    mut stream: UnixStream,
    deadline: Duration,
) -> Result<(UnixStream, Decoder, Agent), SessionError> {
    let mut seen = Seen::default();
    let found = tokio::time::timeout(deadline, converse(&mut stream, &mut seen)).await;
    let (decoder, agent) = found.unwrap_or(Err(SessionError::Silent {
        deadline,
        skipped: seen.skipped,
        stale: seen.stale,
    }))?;
    Ok((stream, decoder, agent))
}

/// What an agent says of itself.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// Its program version, escaped.
    pub program: String,
    /// It was started in the emergency mode of the guest's init.
    pub is_emergency: bool,
}

/// What came that was no answer.
#[derive(Default)]
struct Seen {
    skipped: u64,
    stale: u64,
}

async fn converse(
    stream: &mut UnixStream,
    seen: &mut Seen,
) -> Result<(Decoder, Agent), SessionError> {
    let ours = Hello {
        from: Role::Host,
        protocol: PROTOCOL,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: Nonce(random()?),
        emergency: false,
    };
    let mut words = Vec::new();
    put_hello(&mut words, &ours)?;
    stream.write_all(&words).await.map_err(lost)?;
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
                return Err(
                    WireError::OutOfOrder(format!("a frame of kind {}", frame.kind())).into(),
                );
            };
            if theirs.from != Role::Agent || theirs.nonce != ours.nonce {
                // An answer to an earlier host, or our own words come back.
                seen.stale += 1;
                decoder.seek_again();
                if seen.stale > STALE {
                    return Err(noise(seen));
                }
                continue;
            }
            if theirs.protocol != PROTOCOL {
                return Err(SessionError::Version {
                    theirs: theirs.protocol,
                    program: theirs.program.chars().take(40).collect(),
                });
            }
            let program = theirs.program.chars().take(40);
            let agent = Agent {
                program: program.flat_map(char::escape_debug).collect(),
                is_emergency: theirs.emergency,
            };
            return Ok((decoder, agent));
        }
        seen.skipped = decoder.skipped();
        if seen.skipped > NOISE {
            return Err(noise(seen));
        }
    }
}

fn noise(seen: &Seen) -> SessionError {
    SessionError::Noise {
        skipped: seen.skipped,
        stale: seen.stale,
    }
}

/// Bytes that nobody can guess.
///
/// # Errors
/// There is no /dev/urandom.
pub fn random<const N: usize>() -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut device| device.read_exact(&mut bytes))
        .map_err(|error| SessionError::Channel(Arc::new(error)))?;
    Ok(bytes)
}
