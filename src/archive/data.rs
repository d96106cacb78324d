//! The data of a file that is packed, and where its holes are.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::{MAX_SEGMENTS, Member, padding};

pub(super) const BUFFER: usize = 64 << 10;

/// Writes the data of a member whose headers are written. If the file has shrunk or cannot be
/// read to its end, the rest is zeros, so that the stream stays valid; why it cannot be read is
/// the inner error, and why the stream cannot be written the outer one.
pub(super) fn data(
    out: &mut impl Write,
    file: &File,
    member: &Member,
) -> io::Result<io::Result<()>> {
    let whole = [(0, member.size)];
    let segments = member.segments.as_deref().unwrap_or(&whole);
    let mut result = Ok(());
    for &(offset, length) in segments {
        let (written, read) = copy(file, offset, length, out)?;
        result = result.and(read);
        io::copy(&mut io::repeat(0).take(length - written), out)?;
    }
    out.write_all(padding(member.data()))?;
    Ok(result)
}

/// Copies a part of a file, or as much of it as there is. Returns how much that was, and how
/// reading ended.
fn copy(
    from: &File,
    offset: u64,
    length: u64,
    to: &mut impl Write,
) -> io::Result<(u64, io::Result<()>)> {
    // Most files are small: no more is allocated than they fill.
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
            Err(error) => return Ok((written, Err(error))),
        }
    }
    Ok((written, Ok(())))
}

/// Where a file has data, by SEEK_DATA and SEEK_HOLE; `None` if the system cannot say. GNU tar
/// expects a last, empty segment if the file ends in a hole.
pub(super) fn segments(file: &File, size: u64) -> Option<Vec<(u64, u64)>> {
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
