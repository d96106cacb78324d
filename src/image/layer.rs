//! One layer of a chain: an opened file, the format it is believed to have, and what its
//! header says.
//!
//! It never decides which format is believed (the chain does), and never looks below itself.

use super::error::ChainError;
use super::foreign::{self, ForeignError};
use super::format::{Evidence, Format};
use super::opened::{Kind, Opened};
use super::place::Place;
use super::qcow2::{self, Backing, Header, HeaderError};
use crate::linux::file_id::FileId;
use crate::text::escape::{Quoted, as_path};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What is worth saying of a layer that is accepted nonetheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Another process holds the image as a writer.
    InUse,
    /// QEMU marked the image as corrupt.
    Corrupt,
    /// Told to be raw, but the content starts with another format's signature.
    RawWithHeader(Format),
    /// `--backing` puts a layer under one whose header records none.
    BackingAdded,
    /// `--backing none` leaves out the layer that the header records, by this name.
    BackingLeftOut(Vec<u8>),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => {
                f.write_str("being written by another process: what is read may be inconsistent")
            }
            Self::Corrupt => f.write_str("marked as corrupt: what is read may be wrong"),
            Self::RawWithHeader(format) => write!(
                f,
                "told to be raw, and read as raw, but its content starts like a {format} image"
            ),
            Self::BackingAdded => {
                f.write_str("its header records no backing file; --backing puts one under it")
            }
            Self::BackingLeftOut(name) => write!(
                f,
                "its header records the backing file {}, which --backing leaves out",
                Quoted(as_path(name))
            ),
        }
    }
}

/// One opened layer.
#[derive(Debug)]
pub struct Layer {
    opened: Opened,
    format: Format,
    evidence: Evidence,
    virtual_size: u64,
    header: Option<Header>,
    warnings: Vec<Warning>,
}

impl Layer {
    /// Reads the header of `opened` as `format`. `head` is the file's first bytes, as
    /// [`Opened::head`] returns them; at most one read more is needed for a qcow2 image.
    pub(super) fn read(
        opened: Opened,
        head: &[u8],
        format: Format,
        evidence: Evidence,
        place: &Place,
    ) -> Result<Self, ChainError> {
        let not_in_format = || ChainError::NotInFormat {
            place: place.clone(),
            told: format,
            evidence,
            content: opened.content(head),
        };
        let mut warnings = Vec::new();
        let mut header = None;
        let virtual_size = match format {
            Format::Raw => {
                warnings.extend(opened.content(head).map(Warning::RawWithHeader));
                opened.identity().size
            }
            Format::Qcow2 => {
                let parsed = read_qcow2(&opened, head)
                    .map_err(|source| ChainError::Read {
                        place: place.clone(),
                        source,
                    })?
                    .map_err(|source| match source {
                        HeaderError::NotQcow2 => not_in_format(),
                        source => ChainError::Qcow2 {
                            place: place.clone(),
                            source,
                        },
                    })?;
                warnings.extend(parsed.corrupt.then_some(Warning::Corrupt));
                header.insert(parsed).virtual_size
            }
            foreign => foreign::virtual_size(foreign, opened.file(), opened.identity().size)
                .map_err(|source| match source {
                    ForeignError::NotThis(_) => not_in_format(),
                    source => ChainError::Foreign {
                        place: place.clone(),
                        format,
                        source,
                    },
                })?,
        };
        Ok(Self {
            opened,
            format,
            evidence,
            virtual_size,
            header,
            warnings,
        })
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    /// The path as spelled or resolved, absolute, symbolic links not resolved.
    pub fn path(&self) -> &Path {
        self.opened.path()
    }

    /// The descriptor: opened once, O_RDONLY and close-on-exec.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.opened.as_fd()
    }

    /// The format that is believed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Why it is believed.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// A regular file or a block device (QEMU's drivers `file` and `host_device`).
    pub fn kind(&self) -> Kind {
        self.opened.kind()
    }

    /// What the file was when it was opened.
    pub fn identity(&self) -> FileId {
        self.opened.identity()
    }

    /// What the file is now, by fstat(2) on the same descriptor.
    pub fn identity_now(&self) -> io::Result<FileId> {
        self.opened.identity_now()
    }

    /// Whether another process holds the image as a writer at this moment.
    pub fn in_use(&self) -> bool {
        self.opened.in_use()
    }

    /// Size of the disk in bytes, as the header states it; a raw file's own size, which need
    /// not be a multiple of 512.
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Bytes that the file takes on its file system; a device's size.
    pub fn actual_size(&self) -> u64 {
        self.opened.actual_size()
    }

    /// Whether this is a raw ISO 9660 image that only a CD-ROM drive could boot.
    pub fn is_optical_only(&self) -> bool {
        self.format == Format::Raw && self.opened.is_optical_only()
    }

    /// Whether the header still says what it said when the chain was resolved. Whoever may
    /// write the image could change it between our look and QEMU's: asked once QEMU has opened
    /// every layer, this tells.
    pub fn header_is_unchanged(&self) -> io::Result<bool> {
        let Some(before) = &self.header else {
            // The other formats' headers name no further file once they were accepted, but
            // for vmdk's, whose size is part of what is compared.
            return match self.format {
                Format::Raw => Ok(true),
                format => {
                    let size = self.opened.identity_now()?.size;
                    let again = foreign::virtual_size(format, self.opened.file(), size);
                    Ok(again.is_ok_and(|again| again == self.virtual_size))
                }
            };
        };
        let head = self.opened.head()?;
        Ok(match read_qcow2(&self.opened, &head)? {
            // A writer sets and clears these two all the time.
            Ok(now) => {
                Header {
                    dirty: before.dirty,
                    corrupt: before.corrupt,
                    ..now
                } == *before
            }
            Err(_) => false,
        })
    }

    /// The layer below as this one's header records it, whether or not that is followed.
    pub fn recorded_backing(&self) -> Option<&Backing> {
        self.header.as_ref()?.backing.as_ref()
    }

    /// The qcow2 header, if the layer has one.
    pub fn qcow2(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// What is worth saying, [`Warning::InUse`] included if it is so at this moment.
    pub fn warnings(&self) -> Vec<Warning> {
        let in_use = self.in_use().then_some(Warning::InUse);
        in_use
            .into_iter()
            .chain(self.warnings.iter().cloned())
            .collect()
    }
}

/// Parses the header from `head`, or, where it goes on behind that, from its whole area.
fn read_qcow2(opened: &Opened, head: &[u8]) -> io::Result<Result<Header, HeaderError>> {
    match Header::parse(head) {
        Err(HeaderError::Truncated) if opened.identity().size > head.len() as u64 => {
            Ok(Header::parse(&opened.read_up_to(qcow2::MAX_HEADER_AREA)?))
        }
        parsed => Ok(parsed),
    }
}
