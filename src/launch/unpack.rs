//! Compressed images: each is decompressed into a file without a name, beside the overlays, and that is
//! opened in its place.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::host::memory_limit;
use crate::image::chain::{Chain, Request};
use crate::linux::{memfd, proc_fd};
use crate::machine::overlay::Place;
use crate::package::decompressed;
use crate::text::size::Size;

/// How much is written at a time, in bytes; of zeros, nothing is.
const CHUNK: usize = 64 << 10;

/// An image to open, and the file that it was decompressed into.
pub(super) struct Unpacked {
    request: Request,
    copy: Option<File>,
}

impl Unpacked {
    /// Refuses what the decompressed image would lie on: a name in it is relative to no directory.
    pub(super) fn check(&self, chain: &Chain) -> Result<(), Failure> {
        let known = 1 + self.request.backing.len();
        if self.copy.is_none() || chain.layers().len() <= known {
            return Ok(());
        }
        Err(Failure::with_hint(
            anyhow!(
                "{} is a compressed image that lies on another",
                self.request.image.display()
            ),
            "decompress it beside that one",
        ))
    }

    /// To be used while this lives.
    pub(super) fn request(&self) -> Request {
        match &self.copy {
            Some(copy) => Request {
                image: proc_fd::path(copy),
                ..self.request.clone()
            },
            None => self.request.clone(),
        }
    }
}

/// Decompresses the image if it is compressed and nothing says that its bytes are meant.
pub(super) async fn unpacked(
    request: Request,
    place: &Place,
    limit: Option<u64>,
) -> Result<Unpacked, Failure> {
    let image = request.image.clone();
    let is_file = image.metadata().is_ok_and(|metadata| metadata.is_file());
    // What cannot be opened is told by those who open it next.
    let file = File::open(&image).ok();
    let file = file.filter(|_| is_file && request.format.is_none());
    let Some((kind, from)) = file.and_then(|file| decompressed(file).ok().flatten()) else {
        return Ok(Unpacked {
            request,
            copy: None,
        });
    };
    let free = free(place);
    let limit = limit.unwrap_or(free / 2);
    let to = match place {
        Place::Directory(scratch) => scratch.unnamed_file(),
        Place::Memory => memfd::create(c"bivouac-unpacked"),
    };
    let to = to.context("creating a file for the decompressed image")?;
    let copy = in_thread(from, to, limit).await;
    let (copy, length) = copy.map_err(|error| failed(&image, error, limit))?;
    tracing::warn!(
        "{}: compressed with {kind}; decompressed to {} in {}",
        image.display(),
        Size(length),
        place.name().display()
    );
    Ok(Unpacked {
        request,
        copy: Some(copy),
    })
}

/// In bytes.
fn free(place: &Place) -> u64 {
    match place {
        Place::Directory(scratch) => scratch.space().map_or(0, |space| space.free),
        Place::Memory => memory_limit::available().unwrap_or(0),
    }
}

fn failed(image: &Path, error: io::Error, limit: u64) -> Failure {
    let name = image.display();
    match error.kind() {
        io::ErrorKind::FileTooLarge => Failure::with_hint(
            anyhow!(
                "{name} is more than {} when it is decompressed",
                Size(limit)
            ),
            "--max-unpack SIZE for another limit, --overlay-dir DIR for more space",
        ),
        _ => Failure::from(anyhow::Error::from(error).context(format!("decompressing {name}"))),
    }
}

/// In a thread, so that a signal ends the work. Returns the file and its length.
async fn in_thread(from: Box<dyn Read + Send>, to: File, limit: u64) -> io::Result<(File, u64)> {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().spawn(move || {
        let copied = copy(from, &to, limit).map(|length| (to, length));
        // Nobody waits for it after a signal.
        let _ = sender.send(copied);
    })?;
    let copied = receiver.await;
    // It has ended, or is about to: nothing may run beside what forks next.
    let _ = thread.join();
    copied.unwrap_or_else(|_| Err(io::Error::other("the decoder failed unexpectedly")))
}

/// Copies up to `limit` bytes, with holes for zeros.
fn copy(mut from: impl Read, mut to: &File, limit: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let mut filled = 0;
        while filled < CHUNK {
            match from.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let part = &chunk[..filled];
        length += filled as u64;
        if length > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match part.iter().all(|byte| *byte == 0) {
            true => to.seek(SeekFrom::Current(filled as i64)).map(drop)?,
            false => to.write_all(part)?,
        }
        if filled < CHUNK {
            to.set_len(length)?;
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_holes_and_no_more_than_its_limit() {
        let data = [vec![7; 3 * CHUNK / 2], vec![0; 1 << 20], vec![1, 0]].concat();
        let whole = data.len() as u64;
        let file = tempfile::tempfile().unwrap();
        assert_eq!(copy(&data[..], &file, whole).unwrap(), whole);
        let mut found = Vec::new();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        (&file).read_to_end(&mut found).unwrap();
        assert_eq!(found, data);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 19);
        let refused = copy(io::repeat(0), &tempfile::tempfile().unwrap(), 1 << 20);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
