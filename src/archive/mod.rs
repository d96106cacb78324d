//! Tar streams: POSIX pax format, with what a file system holds besides bytes: nanoseconds,
//! extended attributes (`SCHILY.xattr.*`), holes (GNU's sparse format 1.0), hard links, names and
//! numbers of any size.
//!
//! [`begin`], [`data`] and [`end`] write a stream, and [`Reader`] reads one: bytes alone.
//! [`extract`] makes files of it below a [`Place`], and [`collect`] makes a stream of a tree of
//! this host's.
//!
//! Our own rather than the `tar` crate's, of which only the plain header would be left to use:
//! it writes no extended attributes, no nanoseconds and no hard links, knows only GNU's old
//! sparse format, and unpacks by paths, where we must stay below a descriptor.
//!
//! The reader takes what GNU tar, bsdtar and Python write: ustar, pax and GNU long names.
//! A stream may be hostile: every length is capped, and no name in it is a path before
//! [`extract`] has taken it apart.

mod attributes;
mod collect;
mod data;
mod directories;
mod extract;
mod member;
mod place;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use thiserror::Error;

pub use attributes::attributes;
pub use collect::{Collected, collect};
pub use data::{data, segments};
pub use extract::{Extracted, Policy, extract};
pub use member::{Attributes, Kind, Member};
pub use place::{Beneath, Place};
pub use reader::Reader;
pub use writer::{begin, end, padding};

/// The unit of a tar stream, in bytes.
pub const BLOCK: usize = 512;

/// The largest extended header that is read or written. An extended attribute has 64 KiB at most.
pub const MAX_EXTENDED: usize = 4 << 20;

/// How many pieces of data a sparse file may have in a stream; one with more is written whole
/// from there on.
pub const MAX_SEGMENTS: usize = 100_000;

/// Why a stream cannot be read or written.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The stream below.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ends within a member, or before the end is marked.
    #[error("the tar stream ends too early")]
    Torn,
    /// It is not a tar stream, or not one that is understood.
    #[error("not a tar stream: {0}")]
    Malformed(&'static str),
    /// A length over its cap.
    #[error("a tar stream with {0}, which is too large")]
    TooLarge(&'static str),
}
