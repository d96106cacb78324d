//! Files and trees between a guest and this host, as tar streams. A thread packs or unpacks,
//! because this host's file system may block; it ends with the stream, and the stream with the
//! future that moves it.

use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::thread;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::Failure;
use crate::archive::{ArchiveError, Beneath, Collected, Extracted, Policy, collect, extract};
use crate::guest::session::{Session, SessionError};
use crate::guest::wire::{ByteString, PathAt, TarOptions};

/// The size of a chunk, and how many of them wait.
const CHUNK: usize = 64 << 10;
const WAITING: usize = 4;

/// How many bytes behind the end of a stream are read: the filling of its last record.
const MOST_BEHIND: usize = 1 << 20;

/// What came out of a guest.
#[derive(Debug)]
pub struct Fetched {
    /// What was made of it here.
    pub extracted: Extracted,
    /// What the guest could not read of its own tree.
    pub left_out: Option<SessionError>,
}

impl Fetched {
    /// Refuses a copy that is not whole. `what` names it.
    ///
    /// # Errors
    /// What is missing, first here and then there.
    pub fn whole(self, what: &str) -> Result<u64, Failure> {
        if let Some((name, errno)) = self.extracted.first {
            let name = ByteString(name);
            let more = more(self.extracted.troubles);
            let error = io::Error::from(errno);
            return Err(anyhow::anyhow!("copying {what}: {name}: {error}{more}").into());
        }
        match self.left_out {
            Some(error) => Err(Failure::from(error).context(format!("copying {what}"))),
            None => Ok(self.extracted.members),
        }
    }
}

fn more(troubles: u64) -> String {
    match troubles {
        0 | 1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    }
}

/// Makes below `place` what is at `at` in the guest. The top goes by `options.name`; with
/// [`Policy::only`] the guest cannot name another.
///
/// # Errors
/// It cannot be opened there, what came is no tar stream, or the session ended.
pub async fn fetch(
    session: &Session,
    at: PathAt,
    options: TarOptions,
    place: Beneath,
    policy: Policy,
) -> Result<Fetched, Failure> {
    let mut stream = session.tar_out(at, options).await?;
    let (chunks, received) = mpsc::channel(WAITING);
    let (done, extracting) = oneshot::channel();
    thread::Builder::new()
        .spawn(move || {
            let source = Chunks {
                received,
                current: Vec::new(),
                read: 0,
            };
            let _ = done.send(extract(&place, &policy, source));
        })
        .context("starting a thread for the copy")?;
    let (mut left_out, mut behind) = (None, 0);
    let mut chunks = Some(chunks);
    // What comes behind the end of what was sent is read all the same: the guest tells last what
    // it could not read.
    while behind < MOST_BEHIND {
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
        (Ok(extracted), left_out) => Ok(Fetched {
            extracted,
            left_out,
        }),
        // Why the stream is torn.
        (Err(ArchiveError::Torn), Some(error)) => Err(error.into()),
        (Err(error), _) => Err(anyhow::Error::from(error)
            .context("what the guest sent")
            .into()),
    }
}

/// Puts a file or tree of this host's below a directory of the guest, where it goes by `name`,
/// a path whose directories are made where they are missing. Gives the number of files.
///
/// # Errors
/// It cannot be read here or not be made there, or the session ended. What can be, is.
pub async fn send(
    session: &Session,
    source: PathBuf,
    at: PathAt,
    name: Vec<u8>,
    options: TarOptions,
) -> Result<u64, Failure> {
    let (mut input, unpacking) = session.tar_in(at, options).await?;
    let (chunks, mut received) = mpsc::channel(WAITING);
    let (done, collecting) = oneshot::channel();
    let what = source.display().to_string();
    thread::Builder::new()
        .spawn(move || {
            let mut sink = BufWriter::with_capacity(CHUNK, Sink(chunks));
            let collected = collect(&source, &name, &mut sink);
            let _ = done.send(collected.and_then(|done| Ok(sink.flush().map(|()| done)?)));
        })
        .context("starting a thread for the copy")?;
    while let Some(chunk) = received.recv().await {
        if input.write_all(&chunk).await.is_err() {
            // It says why when it is asked how it went.
            break;
        }
    }
    drop(received);
    // Its end-of-file cannot fail.
    let _ = input.shutdown().await;
    let copying = || format!("copying {what}");
    let unpacked = unpacking.wait().await;
    let collected = collecting.await.context("the thread of the copy")?;
    let members = match (unpacked, &collected) {
        (Ok(members), _) => members,
        // What it was not sent, it cannot unpack.
        (Err(_), Err(ArchiveError::Io(error))) if error.kind() != io::ErrorKind::BrokenPipe => 0,
        (Err(error), _) => return Err(Failure::from(error).context(copying())),
    };
    let collected: Collected = collected.with_context(copying)?;
    match collected.first {
        None => Ok(members),
        Some((path, error)) => {
            let more = more(collected.troubles);
            let path = path.display();
            Err(anyhow::anyhow!("{}: {path}: {error}{more}", copying()).into())
        }
    }
}

/// A channel as what a thread reads from.
struct Chunks {
    received: mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    read: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() {
            let Some(next) = self.received.blocking_recv() else {
                return Ok(0);
            };
            (self.current, self.read) = (next, 0);
        }
        let rest = &self.current[self.read..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

/// And as what it writes to.
struct Sink(mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
