//! The digest of a file or tree of this host's that is copied into a machine before that is saved:
//! names, types, modes and contents. Not times and owners, which a fresh checkout of the same tree
//! changes.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::digest::Digest;

const CHUNK: usize = 256 << 10;

/// A link at `source` itself is followed, those below it are not, as when it is copied. Fails if
/// anything cannot be read.
pub fn digest(source: &Path) -> io::Result<String> {
    let (top, mut digest) = (fs::canonicalize(source)?, Digest::default());
    let mut waiting = vec![top.clone()];
    while let Some(path) = waiting.pop() {
        let found = path.symlink_metadata()?;
        let name = path.strip_prefix(&top).unwrap_or(&path);
        add(&mut digest, name.as_os_str().as_bytes());
        let properties = format!("{:o} {}", found.mode(), device(&found));
        add(&mut digest, properties.as_bytes());
        if found.is_dir() {
            waiting.extend(entries(&path)?);
        } else if found.is_symlink() {
            add(&mut digest, fs::read_link(&path)?.as_os_str().as_bytes());
        } else if found.is_file() {
            add_file(&mut digest, File::open(&path)?)?;
        }
    }
    Ok(digest.finish())
}

/// Each with its length, so that no two lists of them are the same bytes.
fn add(digest: &mut Digest, bytes: &[u8]) {
    digest.add(bytes.len() as u64, bytes);
}

/// In whole chunks, so that the same content has the same digest however it is read.
fn add_file(digest: &mut Digest, mut file: File) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        digest.add(length, &chunk);
        length += chunk.len() as u64;
        if chunk.len() < CHUNK {
            return Ok(());
        }
    }
}

/// The number of a device node; 0 for all else.
fn device(found: &Metadata) -> u64 {
    let kind = found.file_type();
    match kind.is_block_device() || kind.is_char_device() {
        true => found.rdev(),
        false => 0,
    }
}

/// The entries of a directory, last first, because the last one is taken next.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by(|one, other| other.cmp(one));
    Ok(entries)
}
