//! The contents of many small files, which a mounted image is asked for next. One request for each would take longer
//! on its way than in the guest.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use nix::errno::Errno;

use super::gather::{AT_ONCE, Gatherer, OpenFile};
use super::parents::Parents;
use super::root::RootDir;
use crate::archive;
use crate::protocol::{ByteString, ErrorStage, MAX_CONTENT, RemoteError, UNREAD};

/// How much of the contents of files is written at a time, in bytes.
const BUFFER: usize = 64 << 10;

/// Writes, for each path below `root`, eight bytes with the length of a regular file, little-endian, and
/// its bytes; or [`UNREAD`] in place of the length.
pub(super) fn write(
    root: &ByteString,
    paths: &[ByteString],
    gatherer: &mut Gatherer,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut data = BufWriter::with_capacity(BUFFER, data);
    let mut parents = Parents::below(&root);
    for paths in paths.chunks(AT_ONCE) {
        let files: Vec<_> = paths
            .iter()
            .map(|path| open(&mut parents, path).ok())
            .collect();
        let opened: Vec<_> = files.iter().map(Option::as_ref).collect();
        let gathered = gatherer.read(&opened);
        for (number, file) in files.iter().enumerate() {
            let gathered = gathered.of(number);
            let left = file.as_ref().filter(|_| gathered.is_none());
            let read = left.and_then(|(file, _)| content(file));
            let written = match gathered.or(read.as_deref()) {
                Some(content) => put(content, &mut data),
                None => data.write_all(&UNREAD.to_le_bytes()),
            };
            written.map_err(in_pipe)?;
        }
    }
    data.flush().map_err(in_pipe)?;
    Ok(0)
}

fn in_pipe(error: io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", error)
}

fn put(content: &[u8], data: &mut impl Write) -> io::Result<()> {
    data.write_all(&(content.len() as u64).to_le_bytes())?;
    data.write_all(content)
}

fn open<'a>(parents: &mut Parents<'a>, path: &'a ByteString) -> Result<OpenFile, Errno> {
    let (directory, name) = parents.open(path.as_path())?;
    archive::open(directory, &name)
}

/// `None` if it cannot be read, or is too long.
fn content(file: &File) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let read = file.take(MAX_CONTENT + 1).read_to_end(&mut content).ok()?;
    (read as u64 <= MAX_CONTENT).then_some(content)
}
