//! A file's bytes as a member's data, with its holes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::{MAX_SEGMENTS, Member, padding};

/// How much of a file is copied at once.
pub(super) const BUFFER: usize = 64 << 10;

/// Writes the data of a member whose headers are written. What the file lacks of it, because it
/// has shrunk or cannot be read to its end, is zeros, so that the stream stays one, and is told
/// as the inner error.
///
/// # Errors
/// What writing says.
pub fn data(out: &mut impl Write, file: &File, member: &Member) -> io::Result<io::Result<()>> {
    let whole = [(0, member.size)];
    let segments = member.segments.as_deref().unwrap_or(&whole);
    let mut trouble = Ok(());
    for &(offset, length) in segments {
        let copied = copy(file, offset, length, out)?;
        if let Some(error) = copied.error {
            trouble = Err(error);
        }
        io::copy(&mut io::repeat(0).take(length - copied.written), out)?;
    }
    out.write_all(padding(member.data()))?;
    Ok(trouble)
}

struct Copied {
    written: u64,
    /// What reading said.
    error: Option<io::Error>,
}

/// Copies a part of a file, or as much of it as there is; errors of the two sides are told apart.
fn copy(from: &File, offset: u64, length: u64, to: &mut impl Write) -> io::Result<Copied> {
    // Small files are many: no more is set aside than they fill.
    let room = usize::try_from(length).unwrap_or(BUFFER).min(BUFFER);
    let mut buffer = vec![0; room];
    let mut written = 0;
    while written < length {
        let most = usize::try_from(length - written).unwrap_or(room).min(room);
        match from.read_at(&mut buffer[..most], offset + written) {
            Ok(0) => break,
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                written += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let error = Some(error);
                return Ok(Copied { written, error });
            }
        }
    }
    let error = None;
    Ok(Copied { written, error })
}

/// Where a file has data, by SEEK_DATA and SEEK_HOLE; none where the system cannot say. GNU tar
/// wants a last, empty segment where the file ends in a hole.
pub fn segments(file: &File, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    let mut end = 0;
    while end < size {
        let data = match lseek(file, end as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            Err(Errno::ENXIO) => break,
            Err(_) => return None,
        };
        if data >= size {
            break;
        }
        end = match segments.len() < MAX_SEGMENTS {
            true => lseek(file, data as i64, Whence::SeekHole).ok()? as u64,
            false => size,
        };
        end = end.min(size);
        segments.push((data, end - data));
    }
    if end < size {
        segments.push((size, 0));
    }
    Some(segments)
}
