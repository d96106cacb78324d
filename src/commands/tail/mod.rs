//! `bivouac tail`: the end of a file of an image, and what a running machine appends to it.
//!
//! A mounted filesystem does not see what another machine writes to its disk. So each time the
//! image is opened again, with a new overlay, in an appliance of its own.

pub mod follow;

use std::ffi::OsString;
use std::time::Duration;

use super::args::image::InspectionArgs;
use super::image_path::{ImagePath, exists};
use super::inspection::{Inspector, MountedImage, lacks};
use super::stdout_sink;
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::Failure;
use crate::launch::appliance_session::explain_default;
use crate::launch::supervisor::{Stopped, Supervisor};
use crate::machine::end::End;
use crate::protocol::{PathAt, Stat};
use crate::session::SessionError;
use crate::text::time;
use follow::{Change, Position, last_lines};

/// Print the end of a file of an image, and follow it while a machine writes to it
///
/// With --follow the image is opened again at each interval. New lines show up once the machine
/// has written them to its disk, some seconds after it wrote them to the file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a file in it
    #[arg(value_name = "IMAGE:PATH")]
    pub place: OsString,
    /// Print what is appended, until a signal comes
    #[arg(long, short)]
    pub follow: bool,
    /// Number of lines to begin with
    #[arg(long, short = 'n', value_name = "N", default_value = "10")]
    pub lines: usize,
    /// Time to wait before the image is opened again
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time::parse_duration, requires = "follow")]
    pub interval: Duration,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// How much of a file is read at a time.
const MOST: u64 = 64 << 20;
/// How much of a file's end is read first to find its last lines.
const END: u64 = 64 << 10;

struct Found {
    /// How far the file is printed then; `None` if there is no such file.
    position: Option<Position>,
    bytes: Vec<u8>,
    change: Change,
    /// Its filesystem is not mounted: this is another file of that name.
    is_below_missing: bool,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, mut inspector: Inspector<'_>) -> Result<Status, Failure> {
    let place = ImagePath::parse_named(&args.place, exists)?;
    // The timeout is for the command, not for each time the image is opened.
    let timeout = match (inspector.timeout.take(), args.follow) {
        (limit, false) => limit,
        (_, true) => args.options.limits(false).0,
    };
    stdout_sink::run(async |output| {
        let mut supervisor = Supervisor::new(timeout)?;
        let work = async {
            let mut position = None;
            loop {
                let read =
                    async |image: &MountedImage| read_new(image, &place.path, position, args).await;
                let found = inspector.with_image(&place.image, read).await?;
                match found.change {
                    Change::Truncated => tracing::warn!("the file was truncated"),
                    Change::Replaced => tracing::warn!("another file has this name now"),
                    Change::Unchanged | Change::Grown(_) => {}
                }
                let mut output = output.lock().await;
                output.write(&found.bytes).await?;
                output.flush().await?;
                drop(output);
                if !args.follow {
                    return Ok(match found.is_below_missing {
                        true => Status::Negative,
                        false => Status::Success,
                    });
                }
                position = found.position.or(position);
                tokio::time::sleep(args.interval).await;
            }
        };
        match supervisor.guard(work).await {
            Ok(done) => done,
            Err(stopped @ Stopped(End::TimedOut { .. })) if !args.follow => {
                Err(explain_default(stopped.into(), !args.options.has_timeout()))
            }
            // The machine of the moment ends with the work.
            Err(Stopped(end)) => Ok(end.status()),
        }
    })
}

async fn read_new(
    image: &MountedImage,
    path: &[u8],
    position: Option<Position>,
    args: &Args,
) -> Result<Found, Failure> {
    let missing = image.enter(true, false).await?;
    let at = PathAt::new(ROOT, path);
    let mut found = Found {
        position: None,
        bytes: Vec::new(),
        change: Change::Unchanged,
        is_below_missing: lacks(&missing, path, false),
    };
    let stat = match image.session.stat(at.clone(), true).await {
        Ok(stat) => stat,
        // A log that is being rotated.
        Err(error) if position.is_some() && error.errno() == Some(nix::libc::ENOENT) => {
            return Ok(found);
        }
        Err(error) => return Err(error.into()),
    };
    let read = async |offset| image.session.read_from(at.clone(), offset, MOST).await;
    let offset = match position {
        None => {
            let (bytes, offset) = end_of(&stat, args.lines, read).await?;
            found.bytes = bytes;
            offset
        }
        Some(position) => {
            found.change = position.change(&stat);
            match found.change {
                Change::Unchanged => position.bytes,
                Change::Grown(offset) => {
                    found.bytes = read(offset).await?;
                    offset
                }
                Change::Truncated | Change::Replaced => {
                    found.bytes = read(0).await?;
                    0
                }
            }
        }
    };
    found.position = Some(Position {
        inode: stat.inode,
        // The guest may claim any size.
        bytes: offset.saturating_add(found.bytes.len() as u64),
    });
    Ok(found)
}

/// The last lines of a file and their offset. Reads more and more of the file's end.
async fn end_of(
    stat: &Stat,
    lines: usize,
    read: impl AsyncFn(u64) -> Result<Vec<u8>, SessionError>,
) -> Result<(Vec<u8>, u64), SessionError> {
    let mut length = END;
    loop {
        let offset = stat.size.saturating_sub(length);
        let bytes = read(offset).await?;
        // Longer lines are cut off at their beginning.
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
    use super::follow::tests::stat;
    use super::*;

    #[tokio::test]
    async fn no_size_that_a_guest_claims_is_too_much() {
        let stat = stat(1, u64::MAX);
        // More than can follow that offset.
        let read = async |_| Ok(b"line\n".repeat(20_000));
        let (last, offset) = end_of(&stat, 2, read).await.unwrap();
        assert_eq!((&last[..], offset), (&b"line\nline\n"[..], u64::MAX));
    }
}
