//! Tar streams in the POSIX pax format, with all that a file system holds besides bytes:
//! nanoseconds, extended attributes (`SCHILY.xattr.*`), holes (GNU's sparse format 1.0), hard
//! links, names and numbers of any size.
//!
//! [`begin`] and [`end`] write a stream, and [`Reader`] reads one. [`Packer`] and [`pack`] make a
//! stream of files, and [`unpack`] makes files of it below a [`TargetDir`].
//!
//! This is not the `tar` crate because a stream may be hostile. Every length is capped, that of
//! pax headers included; the reader knows sparse format 1.0 and refuses the older ones; files are
//! created below a descriptor, never by path; and a fuzz target covers all of it.
//!
//! The reader takes what GNU tar, bsdtar and Python write: ustar, pax and GNU long names.

mod attributes;
mod data;
mod dirs;
mod member;
mod pack;
mod reader;
mod target_dir;
#[cfg(test)]
mod tests;
mod unpack;
mod writer;

use std::io;

use nix::errno::Errno;
use thiserror::Error;

pub(crate) use attributes::{attributes, attributes_at, attributes_of};
pub use member::{Attributes, Kind, Member};
pub(crate) use pack::{Opened, Packer, open, pack};
pub use reader::Reader;
pub use target_dir::{BeneathDir, TargetDir};
pub use unpack::{Policy, unpack};
pub use writer::{begin, end, padding};

/// The unit of a tar stream, in bytes.
pub const BLOCK: usize = 512;

/// The largest extended header in bytes that is read or written. An extended attribute has at
/// most 64 KiB.
pub const MAX_EXTENDED: usize = 4 << 20;

/// How many pieces of data a sparse file may have in a stream; the rest of a file with more is
/// written with its holes as zeros.
const MAX_SEGMENTS: usize = 100_000;

#[derive(Debug, Error)]
pub enum ArchiveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ends within a member, or before the end is marked.
    #[error("the tar stream ends too early")]
    Truncated,
    /// Of [`Policy::max_bytes`].
    #[error("the guest sent more than that allows")]
    OverLimit,
    #[error("not a tar stream: {0}")]
    Malformed(&'static str),
    #[error("a tar stream with {0}, which is too large")]
    TooLarge(&'static str),
}

#[derive(Debug, Error)]
#[error(transparent)]
enum Failed {
    /// The file; the stream goes on.
    Member(#[from] Errno),
    Stream(#[from] ArchiveError),
}

/// The result of packing or unpacking a stream to its end.
#[derive(Debug, Default)]
pub struct ArchiveStats {
    pub members: u64,
    /// Of data and headers.
    pub bytes: u64,
    /// How many files could not be read or created to their end, with all their properties.
    pub failed: u64,
    /// The first of these: its name and the error.
    pub first: Option<(Vec<u8>, Errno)>,
    /// How many symbolic links that lead out of the directory, or may, were created.
    pub links_out: u64,
    /// The first of these: its name and its target.
    pub first_link_out: Option<(Vec<u8>, Vec<u8>)>,
}

impl ArchiveStats {
    fn note(&mut self, name: &[u8], errno: Errno) {
        self.failed += 1;
        self.first.get_or_insert_with(|| (name.to_owned(), errno));
    }

    fn note_link(&mut self, member: &Member) {
        if member.kind == Kind::Link && member.leads_out() {
            self.links_out += 1;
            let names = || (member.path.clone(), member.target.clone());
            self.first_link_out.get_or_insert_with(names);
        }
    }
}
