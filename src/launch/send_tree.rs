//! Copies files and trees of this host into a guest, as tar streams. A thread packs, because this
//! host's file system may block. It ends with the stream, and the stream ends when the future is
//! dropped.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::progress;
use super::spec::CopySpec;
use crate::archive::{ArchiveError, ArchiveStats, pack};
use crate::protocol::{ByteString, FileKind, PathAt, TarOptions};
use crate::session::Session;

/// The size of a chunk, and how many of them are buffered.
pub(crate) const CHUNK: usize = 64 << 10;
pub(crate) const WAITING: usize = 4;

/// An absolute path in the guest.
pub(crate) fn at(path: &OsStr) -> PathAt {
    PathAt::new("/", path.as_bytes())
}

/// Copies each into the guest, as `cp -r` would: into an existing directory, or else under the name
/// of the target. Everything belongs to root there.
pub(crate) async fn all_in(session: &Session, copies: &[CopySpec]) -> Result<(), Failure> {
    for CopySpec { source, target } in copies {
        let source = PathBuf::from(source);
        let mut name = target.as_bytes().to_vec();
        let stat = session.stat(at(target), true).await;
        if name.ends_with(b"/") || stat.is_ok_and(|stat| stat.kind == FileKind::Directory) {
            let own = source.canonicalize();
            let own = own.with_context(|| format!("--copy-in {}", source.display()))?;
            let own = own.file_name().unwrap_or(OsStr::new("."));
            name.push(b'/');
            name.extend_from_slice(own.as_bytes());
        }
        let options = TarOptions::default();
        send(session, source, at(OsStr::new("/")), name, options).await?;
    }
    Ok(())
}

/// Copies a file or tree of this host to `name` below a directory of the guest; missing
/// directories of `name` are created. Returns the number of files. What cannot be copied is an
/// error, once the rest was.
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
            let collected = pack(&source, &name, &mut sink);
            let _ = done.send(collected.and_then(|done| Ok(sink.flush().map(|()| done)?)));
        })
        .context("starting a thread for the copy")?;
    while let Some(chunk) = received.recv().await {
        if input.write_all(&chunk).await.is_err() {
            // The reply to the request says why.
            break;
        }
        progress::copied(chunk.len());
    }
    drop(received);
    let _ = input.shutdown().await;
    let copying = || format!("copying {what}");
    let unpacked = unpacking.wait().await;
    let collected = collecting.await.context("the thread of the copy")?;
    let members = match (unpacked, &collected) {
        (Ok(members), _) => members,
        // The error of this side came first.
        (Err(_), Err(ArchiveError::Io(error))) if error.kind() != io::ErrorKind::BrokenPipe => 0,
        (Err(error), _) => return Err(Failure::from(error).context(copying())),
    };
    let collected: ArchiveStats = collected.with_context(copying)?;
    match collected.first {
        None => Ok(members),
        Some((path, error)) => {
            let more = more(collected.failed);
            let path = ByteString(path);
            let path = path.as_path().display();
            Err(anyhow::anyhow!("{}: {path}: {error}{more}", copying()).into())
        }
    }
}

pub(crate) fn more(failed: u64) -> String {
    match failed {
        0 | 1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    }
}

/// The sending end of a channel, for a thread to write to.
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
