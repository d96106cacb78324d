//! `bivouac tail`: the end of a file of an image, and what a running machine adds to it.
//!
//! A filesystem that is mounted does not see what somebody else writes below it. So each look is
//! a new one: the image is opened again, over a fresh overlay, in an appliance of its own.

pub mod follow;

use std::ffi::OsString;
use std::time::Duration;

use super::image_path::{ImagePath, exists};
use super::inside::{self, Inside};
use super::watch::Watch;
use super::{Failure, Voice, results};
use crate::exit::Status;
use crate::guest::boot::ROOT;
use crate::guest::session::SessionError;
use crate::guest::wire::{At, ByteString, Stat};
use crate::text::time;
use follow::{Next, Shown, last_lines};

/// Print the end of a file of an image, and follow it while a machine writes to it
///
/// With --follow the image is opened anew for each look: what shows up is what the machine has
/// written to its disk, some seconds after it wrote it to the file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a file in it
    #[arg(value_name = "IMAGE:PATH")]
    pub place: OsString,
    /// Go on with what is added, until a signal comes
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with the last N lines
    #[arg(long, short = 'n', value_name = "N", default_value = "10")]
    pub lines: usize,
    /// Wait so long between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time::parse_duration, requires = "follow")]
    pub interval: Duration,
    /// How the image is opened.
    #[command(flatten)]
    pub options: inside::Options,
}

/// How much of a file is taken at one look.
const MOST: u64 = 64 << 20;
/// How much of a file's end is read first, in search of its last lines.
const END: u64 = 64 << 10;

/// What a look has found.
struct Found {
    /// How far the file is shown then; none where there is none.
    shown: Option<Shown>,
    /// What is to be shown now.
    bytes: Vec<u8>,
    /// What became of the file that was shown so far.
    next: Next,
}

/// Prints. Must be called on the main thread, before any other is started.
///
/// # Errors
/// The image cannot be looked into, or the file not be read.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Status, Failure> {
    let place = ImagePath::parse_named(&args.place, exists)?;
    // The whole may take so long, not each look.
    let mut options = args.options.settled()?;
    let timeout = options.timeout.take();
    results::run(async |results| {
        let mut watch = Watch::new(timeout)?;
        let course = async {
            let mut shown = None;
            loop {
                let look = async |inside: &Inside| again(inside, &place.path, shown, args).await;
                let found = inside::look(&options, &place.image, voice, look).await?;
                options.again = true;
                match found.next {
                    Next::Truncated => tracing::warn!("the file was truncated"),
                    Next::Replaced => tracing::warn!("another file has this name now"),
                    Next::Nothing | Next::From(_) => {}
                }
                let mut results = results.lock().await;
                results.put(&found.bytes).await?;
                results.flush().await?;
                drop(results);
                if !args.follow {
                    return Ok(Status::Success);
                }
                shown = found.shown.or(shown);
                tokio::time::sleep(args.interval).await;
            }
        };
        match watch.before(course).await {
            Ok(done) => done,
            // The machine that was just looking ends with the work.
            Err(end) => Ok(end.status()),
        }
    })
}

/// One look.
async fn again(
    inside: &Inside,
    path: &[u8],
    shown: Option<Shown>,
    args: &Args,
) -> Result<Found, Failure> {
    inside.enter(true, false).await?;
    let at = At {
        root: ROOT.into(),
        path: ByteString(path.to_vec()),
    };
    let mut found = Found {
        shown: None,
        bytes: Vec::new(),
        next: Next::Nothing,
    };
    let stat = match inside.session.stat(at.clone(), true).await {
        Ok(stat) => stat,
        // Between the removal of a log and its successor.
        Err(error) if shown.is_some() && error.errno() == Some(nix::libc::ENOENT) => {
            return Ok(found);
        }
        Err(error) => return Err(error.into()),
    };
    let read = async |offset| inside.session.read_from(at.clone(), offset, MOST).await;
    let offset = match shown {
        None => {
            let (bytes, offset) = end_of(&stat, args.lines, read).await?;
            found.bytes = bytes;
            offset
        }
        Some(shown) => {
            found.next = shown.next(&stat);
            match found.next {
                Next::Nothing => shown.bytes,
                Next::From(offset) => {
                    found.bytes = read(offset).await?;
                    offset
                }
                Next::Truncated | Next::Replaced => {
                    found.bytes = read(0).await?;
                    0
                }
            }
        }
    };
    found.shown = Some(Shown {
        inode: stat.inode,
        // The guest may claim any size.
        bytes: offset.saturating_add(found.bytes.len() as u64),
    });
    Ok(found)
}

/// The last lines of a file, and where they begin: read from its end, more and more of it.
async fn end_of(
    stat: &Stat,
    lines: usize,
    read: impl AsyncFn(u64) -> Result<Vec<u8>, SessionError>,
) -> Result<(Vec<u8>, u64), SessionError> {
    let mut length = END;
    loop {
        let offset = stat.size.saturating_sub(length);
        let bytes = read(offset).await?;
        // What is longer than may be read is shown from there on.
        let is_whole = offset == 0 || length >= MOST;
        if let Some(last) = last_lines(&bytes, lines, is_whole) {
            let offset = offset.saturating_add((bytes.len() - last.len()) as u64);
            return Ok((last.to_vec(), offset));
        }
        length *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::wire::{FileKind, Stat};

    #[tokio::test]
    async fn no_size_that_a_guest_claims_is_too_much() {
        let stat = Stat {
            kind: FileKind::File,
            mode: 0o644,
            links: 1,
            uid: 0,
            gid: 0,
            size: u64::MAX,
            blocks: 8,
            modified: (0, 0),
            accessed: (0, 0),
            changed: (0, 0),
            device: 1,
            inode: 1,
            special: None,
        };
        // More than there can be behind that.
        let read = async |_| Ok(b"line\n".repeat(20_000));
        let (last, offset) = end_of(&stat, 2, read).await.unwrap();
        assert_eq!((&last[..], offset), (&b"line\nline\n"[..], u64::MAX));
    }
}
