//! One layer of a chain: an opened file, the format it is read as, and its header.
//!
//! Which format that is, and what lies below, is decided by the chain.

use super::error::ChainError;
use super::file_kind::FileKind;
use super::format::{Evidence, Format};
use super::formats::{self, FormatError, ReadAt};
use super::hints::convert_backing;
use super::image_file::ImageFile;
use super::open_image::UnpackedCopy;
use super::origin::Origin;
use super::qcow2::{self, Backing, Header, HeaderError, clusters};
use super::remote_image::RemoteImage;
use super::trust::Right;
use crate::linux::file_id::{FileId, FileStamp};
use crate::text::escape::{Quoted, as_path};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// What the user should know about a layer that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("being written by another process: what is read may be inconsistent")]
    InUse,
    #[error("marked as corrupt: what is read may be wrong")]
    Corrupt,
    #[error("cut off: the file ends before what its tables refer to, which reads as zeros")]
    CutOff,
    #[error("declared as raw and read as raw, but its content starts like a {0} image")]
    RawWithHeader(Format),
    #[error("declared as raw and read as raw, but it is {0}")]
    RawButPacked(&'static str),
    /// QEMU before 10.0 does not know the program that made a VHD.
    #[error("QEMU before 10.0 shows the last {0} bytes of the disk as zeros")]
    EndIsLost(u64),
    #[error("its header records no backing file; --backing puts one under it")]
    BackingAdded,
    /// `--backing none` leaves out the layer that the header records, by this name.
    #[error("its header records the backing file {}, which --backing leaves out", Quoted(as_path(.0)))]
    BackingLeftOut(Vec<u8>),
}

#[derive(Debug)]
pub struct Layer {
    file: ImageFile,
    format: Format,
    evidence: Evidence,
    right: Right,
    virtual_size: u64,
    header: Option<Header>,
    warnings: Vec<Warning>,
}

impl Layer {
    /// Reads the header of `file` as `format`. `head` is what [`ImageFile::head`] returned.
    pub(super) fn read(
        file: ImageFile,
        head: &[u8],
        (format, evidence): (Format, Evidence),
        origin: &Origin,
    ) -> Result<Self, ChainError> {
        let path = &origin.path;
        let not_in_format = || match (file.content(head), file.packed(head)) {
            (None, Some(packed)) => ChainError::packed(origin, packed),
            (content, _) => ChainError::not_in_format(origin, (format, evidence), content),
        };
        let bad_qcow2 = |source| match (&source, &origin.named_by) {
            (HeaderError::NotQcow2, _) => not_in_format(),
            (HeaderError::Version(1), Some(by)) => {
                let hint = convert_backing("qcow", path, &by.layer, as_path(&by.name));
                ChainError::header(origin, hint, source)
            }
            _ => ChainError::header(origin, source.hint(path), source),
        };
        let bad_other = |source| match source {
            FormatError::NotThis(_) => not_in_format(),
            source => ChainError::header(origin, source.hint(path, format), source),
        };
        let (header, warning);
        let virtual_size = match format {
            Format::Raw => {
                header = None;
                warning = match (file.content(head), evidence) {
                    (Some(content), _) => Some(Warning::RawWithHeader(content)),
                    // Who says so of any other file means its bytes.
                    (None, Evidence::Flag) => None,
                    (None, _) => (file.packed(head)).map(|it| Warning::RawButPacked(it.what)),
                };
                file.length
            }
            Format::Qcow2 => {
                let parsed = read_qcow2(&file, head)
                    .map_err(|source| ChainError::reading(origin, source))?
                    .map_err(bad_qcow2)?;
                warning = parsed.corrupt.then_some(Warning::Corrupt);
                let size = parsed.virtual_size;
                header = Some(parsed);
                size
            }
            format => {
                let length = file.length;
                let size = formats::virtual_size(format, &file.file, length).map_err(bad_other)?;
                header = None;
                warning =
                    formats::lost_by_old_qemu(format, &file.file, length).map(Warning::EndIsLost);
                size
            }
        };
        let is_cut_off = formats::is_cut_off(format, &file.file, file.length);
        let warnings = warning
            .into_iter()
            .chain(is_cut_off.then_some(Warning::CutOff));
        Ok(Self {
            warnings: warnings.collect(),
            file,
            format,
            evidence,
            right: origin.right,
            virtual_size,
            header,
        })
    }

    /// Fills `buffer` from `offset` of the disk that a guest sees; what the image does not hold,
    /// `below` fills. Beyond its end there are zeros. [`io::ErrorKind::Unsupported`] for all formats
    /// but raw and qcow2.
    pub(super) fn read_guest(
        &self,
        buffer: &mut [u8],
        offset: u64,
        below: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let held = self.virtual_size.saturating_sub(offset);
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        let (buffer, beyond) = buffer.split_at_mut(held.min(buffer.len()));
        beyond.fill(0);
        match (self.format, &self.header) {
            (Format::Raw, _) => self.file.file.read_exact_at(buffer, offset),
            (_, Some(header)) => clusters::read(&self.file.file, header, buffer, offset, below),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    /// The path as spelled or resolved, absolute, symbolic links not resolved.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The descriptor: opened once, O_RDONLY and close-on-exec; or the number of a connection.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.file.as_fd()
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// The right by which it was opened.
    pub fn right(&self) -> Right {
        self.right
    }

    /// The bytes of its L1 table, if it is a qcow2 image.
    pub(super) fn l1_bytes(&self) -> u64 {
        (self.header.as_ref()).map_or(0, |header| u64::from(header.l1_entries) * 8)
    }

    /// What to tell who asks for details: that the name was not believed.
    pub fn remark(&self) -> Option<String> {
        let promised = Format::promised_by_name(self.file.name())?;
        let is_odd = self.evidence == Evidence::Content && promised != self.format;
        is_odd.then(|| {
            let (path, format) = (Quoted(self.path()), self.format);
            format!(
                "{path} is named like a {promised} image, but is {format}, and read as that: it names no other file"
            )
        })
    }

    /// A regular file or a block device (QEMU's drivers `file` and `host_device`).
    pub fn kind(&self) -> FileKind {
        self.file.kind
    }

    /// The copy that it is, if the user's image was packed.
    pub fn copy(&self) -> Option<&UnpackedCopy> {
        self.file.copy.as_deref()
    }

    /// What it is read from, if that is on another host.
    pub fn remote(&self) -> Option<&Arc<RemoteImage>> {
        self.file.remote()
    }

    /// Which state of the file it is, for a template's key.
    pub fn stamp(&self) -> io::Result<FileStamp> {
        self.file.stamp()
    }

    /// What the file was when it was opened; of a copy, what its original was.
    pub fn identity(&self) -> FileId {
        self.file.identity
    }

    /// What the file is now, by fstat(2) on the same descriptor; of a copy, what its original is.
    pub fn identity_now(&self) -> io::Result<FileId> {
        self.file.identity_now()
    }

    /// Whether another process has the image open for writing at this moment.
    pub fn in_use(&self) -> bool {
        self.file.in_use()
    }

    /// Size of the disk in bytes, as the header states it; a raw file's own size, which need
    /// not be a multiple of 512.
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// Bytes that the file takes on its file system; a device's size.
    pub fn actual_size(&self) -> u64 {
        self.file.actual_size
    }

    /// Whether this is a raw ISO 9660 image that only a CD-ROM drive could boot.
    pub fn is_optical_only(&self) -> bool {
        self.format == Format::Raw && self.file.is_optical_only()
    }

    /// Whether the header is still what it was when the chain was resolved. Others may write to
    /// the image between our check and QEMU's opening, so this is asked once QEMU has opened
    /// every layer. Of an image of a server it is not: that is not read twice.
    pub fn header_is_unchanged(&self) -> io::Result<bool> {
        match (&self.header, self.format) {
            (Some(before), _) => {
                let now = read_qcow2(&self.file, &self.file.head()?)?;
                // A writer sets and clears these two all the time.
                let (dirty, corrupt) = (before.dirty, before.corrupt);
                let now = now.map(|now| Header {
                    dirty,
                    corrupt,
                    ..now
                });
                Ok(now.as_ref() == Ok(before))
            }
            (None, Format::Raw) => Ok(true),
            // An accepted header of another format names no further file, except for that of
            // vmdk, which reading the size checks again.
            (None, format) => {
                let size = self.file.length_now()?;
                let again = formats::virtual_size(format, &self.file.file, size);
                Ok(again.is_ok_and(|again| again == self.virtual_size))
            }
        }
    }

    /// The backing file as the header records it, whether or not it is followed.
    pub fn recorded_backing(&self) -> Option<&Backing> {
        self.header.as_ref()?.backing.as_ref()
    }

    /// All warnings, [`Warning::InUse`] included if it applies at this moment.
    pub fn warnings(&self) -> Vec<Warning> {
        let in_use = self.in_use().then_some(Warning::InUse);
        let others = self.warnings.iter().cloned();
        in_use.into_iter().chain(others).collect()
    }
}

/// Whether no other file is reached through the qcow2 header in `file`. Headers that are refused for
/// another reason count: nothing is read by them.
pub(super) fn names_no_file(file: &ImageFile, head: &[u8]) -> bool {
    match read_qcow2(file, head) {
        Ok(Ok(header)) => header.backing.is_none(),
        Ok(Err(error)) => !matches!(error, HeaderError::ExternalDataFile { .. }),
        Err(_) => false,
    }
}

/// Parses the header from `head`, or, where it is longer than that, from its whole area.
fn read_qcow2(file: &ImageFile, head: &[u8]) -> io::Result<Result<Header, HeaderError>> {
    match Header::parse(head) {
        Err(HeaderError::Truncated) if file.length > head.len() as u64 => {
            Ok(Header::parse(&file.read_up_to(qcow2::MAX_HEADER_AREA)?))
        }
        parsed => Ok(parsed),
    }
}
