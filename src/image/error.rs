//! Every way in which a chain is refused: what failed, on which file, why; and the mend.
//!
//! The text is for people; the causes are in the error's source, so that whoever prints the
//! chain of causes prints each once.

use super::backing_name::NameError;
use super::foreign::ForeignError;
use super::format::{Evidence, Format};
use super::opened::Kind;
use super::place::{Place, beside, denying};

use super::qcow2::HeaderError;
use crate::text::escape::{Quoted, as_path};
use std::io;
use std::path::{Path, PathBuf};

/// Why a chain is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The file does not exist.
    #[error("cannot find {place}")]
    NotFound {
        /// Which layer.
        place: Place,
        /// A file of the same name beside the layer above: the chain was moved.
        beside: bool,
        /// What the system said.
        source: io::Error,
    },
    /// The file, or a directory above it, may not be read.
    #[error("may not read {place}")]
    Denied {
        /// Which layer.
        place: Place,
        /// The file or directory that denies.
        denies: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Opening failed in another way.
    #[error("cannot open {place}")]
    Open {
        /// Which layer.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {place}")]
    Read {
        /// Which layer.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error("{place:#} is {}; only regular files and block devices hold disk images", kind.in_words())]
    WrongKind {
        /// Which layer.
        place: Place,
        /// What it is.
        kind: Kind,
    },
    /// A file of no bytes.
    #[error("{place:#} is empty: there is no disk in it")]
    Empty {
        /// Which layer.
        place: Place,
    },
    /// A qcow2 header that is refused.
    #[error("cannot use {place}")]
    Qcow2 {
        /// Which layer.
        place: Place,
        /// Why.
        source: HeaderError,
    },
    /// A header of another format that is refused.
    #[error("cannot use {place}")]
    Foreign {
        /// Which layer.
        place: Place,
        /// The format.
        format: Format,
        /// Why.
        source: ForeignError,
    },
    /// The format that was told is not what the file holds.
    #[error("{place:#} is not a {told} image, as {} says; it {}", teller(*evidence), in_words(*content))]
    NotInFormat {
        /// Which layer.
        place: Place,
        /// The format that was told.
        told: Format,
        /// Who told it.
        evidence: Evidence,
        /// What the content shows.
        content: Option<Format>,
    },
    /// The top image's name promises one format, and its content shows another.
    #[error("{} is named like a {promised} image, but it {}", Quoted(path), in_words(*content))]
    NameDisagrees {
        /// The image.
        path: PathBuf,
        /// The format that the name promises.
        promised: Format,
        /// What the content shows.
        content: Option<Format>,
    },
    /// A compressed image or an archive.
    #[error(
        "{} is packed: what is inside may be a disk image, but it is none",
        Quoted(path)
    )]
    Packed {
        /// The image.
        path: PathBuf,
        /// What unpacks it, the path to follow.
        command: &'static [&'static str],
    },
    /// A block device, into which any guest may have written a header.
    #[error(
        "{} is a block device whose content starts like a {content} image; a guest that had it as a raw disk can have written that",
        Quoted(path)
    )]
    HeaderOnDevice {
        /// The device.
        path: PathBuf,
        /// What the content shows.
        content: Format,
    },
    /// An ISO image with an image header in its system area.
    #[error("{} is an ISO image that starts like a {content} image", Quoted(path))]
    IsoWithHeader {
        /// The image.
        path: PathBuf,
        /// What the content shows.
        content: Format,
    },
    /// A backing name without a backing format.
    #[error(
        "{} does not record the format of its backing file {}; QEMU would guess it from the content, which a guest may have written",
        Quoted(layer),
        Quoted(as_path(name))
    )]
    FormatMissing {
        /// The layer whose header lacks the format.
        layer: PathBuf,
        /// The recorded name.
        name: Vec<u8>,
        /// The format that content and name of the layer below agree on.
        likely: Option<Format>,
    },
    /// A backing format that is not accepted.
    #[error(
        "{} records the format {recorded:?} for its backing file {}, which is none that bivouac reads",
        Quoted(layer),
        Quoted(as_path(name))
    )]
    FormatUnknown {
        /// The layer whose header records it.
        layer: PathBuf,
        /// The recorded name.
        name: Vec<u8>,
        /// The recorded format.
        recorded: String,
        /// The format that content and name of the layer below agree on.
        likely: Option<Format>,
    },
    /// A backing name that is no file's.
    #[error(
        "{} records the backing file {}, which is not followed",
        Quoted(layer),
        Quoted(as_path(name))
    )]
    BackingName {
        /// The layer whose header records it.
        layer: PathBuf,
        /// The recorded name.
        name: Vec<u8>,
        /// The recorded format, where it is recorded and known.
        format: Option<Format>,
        /// Why not.
        source: NameError,
    },
    /// A file that is its own ancestor.
    #[error(
        "{place:#} is already in the chain, as {}: the chain is a loop",
        Quoted(first)
    )]
    Loop {
        /// Where the file came up again.
        place: Place,
        /// Its path when it came up first.
        first: PathBuf,
    },
    /// More layers than anybody stacks on purpose.
    #[error("the chain has more than {limit} layers; {place:#} would be the next")]
    TooDeep {
        /// The first layer that is too many.
        place: Place,
        /// The limit.
        limit: usize,
    },
    /// A `--backing` behind `--backing none`.
    #[error("--backing none ends the chain, but another --backing follows it")]
    StatedBelowNone,
    /// A `--backing` under a layer that cannot have one.
    #[error(
        "--backing puts {} under {}, but a {format} image has no layer below",
        Quoted(stated),
        Quoted(layer)
    )]
    StatedBelowBase {
        /// The layer that cannot have a backing file.
        layer: PathBuf,
        /// Its format.
        format: Format,
        /// What was stated.
        stated: PathBuf,
    },
}

/// The likely command or flag for "who says so".
fn teller(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Flag => "--format",
        Evidence::Stated => "--backing",
        Evidence::Recorded => "the header above it",
        Evidence::Content | Evidence::Guess => "its content",
    }
}

/// What content shows, as the rest of a sentence.
fn in_words(content: Option<Format>) -> String {
    match content {
        Some(format) => format!("starts like a {format} image"),
        None => "starts like a raw disk: no image format's signature is there".to_owned(),
    }
}

impl ChainError {
    /// The error for a file that did not open; looks around for what would mend it.
    pub(super) fn opening(place: &Place, source: io::Error) -> Self {
        let place = place.clone();
        match source.kind() {
            io::ErrorKind::NotFound => {
                let beside = beside(&place).is_some_and(|path| path.exists());
                Self::NotFound {
                    place,
                    beside,
                    source,
                }
            }
            io::ErrorKind::PermissionDenied => {
                let denies = denying(&place.path);
                Self::Denied {
                    place,
                    denies,
                    source,
                }
            }
            _ => Self::Open { place, source },
        }
    }

    /// The layer that the error is about.
    pub fn layer(&self) -> Option<&Path> {
        match self {
            Self::NotFound { place, .. }
            | Self::Denied { place, .. }
            | Self::Open { place, .. }
            | Self::Read { place, .. }
            | Self::WrongKind { place, .. }
            | Self::Empty { place }
            | Self::Qcow2 { place, .. }
            | Self::Foreign { place, .. }
            | Self::NotInFormat { place, .. }
            | Self::Loop { place, .. }
            | Self::TooDeep { place, .. } => Some(&place.path),
            Self::NameDisagrees { path, .. }
            | Self::Packed { path, .. }
            | Self::HeaderOnDevice { path, .. }
            | Self::IsoWithHeader { path, .. } => Some(path),
            Self::FormatMissing { layer, .. }
            | Self::FormatUnknown { layer, .. }
            | Self::BackingName { layer, .. }
            | Self::StatedBelowBase { layer, .. } => Some(layer),
            Self::StatedBelowNone => None,
        }
    }
}
