//! Copies files and trees from a guest to this host, as tar streams; the other way is
//! [`crate::launch::send_tree`]. A thread unpacks, because this host's file system may block. It ends with the stream, and the stream ends when
//! the future is dropped.

use std::io::{self, Read};
use std::thread;

use anyhow::Context;
use nix::sys::stat::Mode;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};

use crate::archive::{ArchiveError, ArchiveStats, BeneathDir, Policy, unpack};
pub use crate::launch::send_tree::send;
use crate::launch::send_tree::{CHUNK, WAITING, more};
use crate::launch::{Failure, progress};
use crate::protocol::{ByteString, PathAt, TarOptions};
use crate::session::{Session, SessionError};

/// The most that is read behind the end of an archive, which is padded to a record.
const MAX_PADDING: usize = 1 << 20;

#[derive(Debug)]
pub struct Received {
    pub extracted: ArchiveStats,
    /// What the guest could not read.
    pub left_out: Option<SessionError>,
}

impl Received {
    /// The number of files, or an error if something is missing. `what` names the copy.
    pub fn complete(self, what: &str) -> Result<u64, Failure> {
        if let Some((name, target)) = self.extracted.first_link_out {
            let (is_top, name) = (!name.contains(&b'/'), ByteString(name));
            let target = ByteString(target);
            let link = format!("copying {what}: {name} is a symbolic link to {target}");
            match self.extracted.links_out - 1 {
                // The next copy may be to the same name.
                0 if is_top => tracing::warn!("{link}, outside the copy"),
                more => tracing::debug!("{link}, outside the copy (and {more} more)"),
            }
        }
        if let Some((name, errno)) = self.extracted.first {
            let name = ByteString(name);
            let more = more(self.extracted.failed);
            let error = io::Error::from(errno);
            return Err(anyhow::anyhow!("copying {what}: {name}: {error}{more}").into());
        }
        match self.left_out {
            Some(error) => Err(Failure::from(error).context(format!("copying {what}"))),
            None => Ok(self.extracted.members),
        }
    }
}

/// The bits that this process's new files do not get.
pub fn umask() -> u32 {
    // It can only be read by setting it.
    let umask = nix::sys::stat::umask(Mode::S_IRWXG | Mode::S_IRWXO);
    nix::sys::stat::umask(umask);
    umask.bits()
}

/// Copies the file or tree at `at` in the guest to below `place`. Its name there is
/// `options.name`; with [`Policy::only`] the guest cannot choose another.
pub async fn fetch(
    session: &Session,
    at: PathAt,
    options: TarOptions,
    place: BeneathDir,
    policy: Policy,
) -> Result<Received, Failure> {
    let mut stream = session.tar_out(at, options).await?;
    let (chunks, received) = mpsc::channel(WAITING);
    let (done, extracting) = oneshot::channel();
    thread::Builder::new()
        .spawn(move || {
            let source = Chunks {
                received,
                current: io::Cursor::default(),
            };
            let _ = done.send(unpack(&place, &policy, source));
        })
        .context("starting a thread for the copy")?;
    let (mut left_out, mut behind) = (None, 0);
    let mut chunks = Some(chunks);
    // Read on behind the end of the archive: the guest says last what it could not read.
    while behind < MAX_PADDING {
        let mut chunk = vec![0; CHUNK];
        let length = match stream.read(&mut chunk).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => {
                left_out = Some(SessionError::of_stream(error));
                break;
            }
        };
        chunk.truncate(length);
        progress::copied(length);
        match &chunks {
            Some(open) if open.send(chunk).await.is_ok() => {}
            _ => {
                chunks = None;
                behind += length;
            }
        }
    }
    drop((chunks, stream));
    let extracted = extracting.await.context("the thread of the copy")?;
    match (extracted, left_out) {
        (Ok(extracted), left_out) => Ok(Received {
            extracted,
            left_out,
        }),
        (Err(ArchiveError::OverLimit), _) => Err(Failure::with_hint(
            anyhow::anyhow!("the guest sent more than --max-copy allows"),
            "a larger --max-copy; it is 16G by default",
        )),
        // Why the stream is cut off.
        (Err(ArchiveError::Truncated), Some(error)) => Err(error.into()),
        (Err(error), _) => Err(anyhow::Error::from(error)
            .context("what the guest sent")
            .into()),
    }
}

/// The receiving end of a channel, for a thread to read from.
struct Chunks {
    received: mpsc::Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.position() == self.current.get_ref().len() as u64 {
            let Some(next) = self.received.blocking_recv() else {
                return Ok(0);
            };
            self.current = io::Cursor::new(next);
        }
        Read::read(&mut self.current, buffer)
    }
}
