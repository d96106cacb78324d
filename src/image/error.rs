//! Why a chain is refused: the message, the cause and the hint of each refusal.
//!
//! No caller distinguishes refusals, so each is a function that puts its message and its hint
//! side by side, and not a variant of an enum. The message names the layer and, where a header
//! led there, that header's layer and the recorded name.

use super::backing_name::NameError;
use super::explicit::GivenAs;
use super::file_kind::FileKind;
use super::format::{Evidence, Format};
use super::hints::{Likely, backing_flag, convert, plain_name, rebase};
use super::origin::{BackingRef, Origin};
use super::packed::Packed;
use crate::text::escape::{Quoted, as_path, shell_word};
use crate::text::size::Size;
use nix::unistd::{AccessFlags, access};
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ChainError {
    message: String,
    layer: Option<PathBuf>,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ChainError {
    pub(super) fn new(layer: &Path, message: String) -> Self {
        Self {
            message,
            layer: Some(layer.to_owned()),
            hint: None,
            source: None,
        }
    }

    pub(super) fn with_hint(self, hint: impl Into<Option<String>>) -> Self {
        let hint = hint.into();
        Self { hint, ..self }
    }

    pub(super) fn caused_by(self, source: impl Error + Send + Sync + 'static) -> Self {
        let source = Some(source.into());
        Self { source, ..self }
    }

    pub fn layer(&self) -> Option<&Path> {
        self.layer.as_deref()
    }

    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Files that cannot be opened or read.
impl ChainError {
    pub(super) fn opening(origin: &Origin, source: io::Error) -> Self {
        let path = &origin.path;
        if source.kind() == io::ErrorKind::NotFound && origin.is_url() {
            return Self::of_a_server(origin);
        }
        let (message, hint) = match source.kind() {
            io::ErrorKind::NotFound => (format!("cannot find {origin}"), rename_hint(origin)),
            io::ErrorKind::PermissionDenied if origin.named_by.is_some() => (
                format!("not allowed to read {origin}"),
                Some(distrust(origin)),
            ),
            io::ErrorKind::PermissionDenied => {
                let denied = first_denied(path);
                let right = if denied.is_dir() { "x" } else { "r" };
                let denied = shell_word(denied);
                let hint = format!("sudo setfacl -m u:\"$(id -un)\":{right} {denied}");
                (format!("not allowed to read {origin}"), Some(hint))
            }
            _ => {
                let hint = format!("ls -ld {}", shell_word(path));
                (format!("cannot open {origin}"), Some(hint))
            }
        };
        Self::new(path, message).with_hint(hint).caused_by(source)
    }

    pub(super) fn reading(origin: &Origin, source: io::Error) -> Self {
        if origin.is_remote() {
            return Self::remote_reading(origin, source);
        }
        let hint = format!(
            "cp {} /var/tmp/  # if that fails too, the disk is damaged: see sudo dmesg",
            shell_word(&origin.path)
        );
        Self::new(&origin.path, format!("cannot read {origin}"))
            .with_hint(hint)
            .caused_by(source)
    }

    pub(super) fn wrong_kind(origin: &Origin, kind: FileKind) -> Self {
        let path = &origin.path;
        let message =
            format!("{origin:#} is {kind}; only regular files and block devices hold disk images");
        Self::new(path, message).with_hint(match kind {
            _ if origin.named_by.is_some() => distrust(origin),
            FileKind::Directory => format!("ls {}  # and name an image in it", shell_word(path)),
            FileKind::Fifo => format!("cat {} > disk.img  # and name that", shell_word(path)),
            FileKind::Socket => {
                let mut url = OsString::from("nbd+unix:///?socket=");
                url.push(path);
                format!(
                    "qemu-img convert -O qcow2 {} disk.qcow2  # if an NBD server listens there",
                    shell_word(url)
                )
            }
            _ => "lsblk -p  # and name a block device or a file".to_owned(),
        })
    }

    pub(super) fn empty(origin: &Origin) -> Self {
        let image = shell_word(&origin.path);
        let message = format!("{origin:#} is empty: there is no disk in it");
        let hint = match origin.named_by {
            Some(_) => distrust(origin),
            None => format!("truncate -s 10G {image}  # if you want a blank raw disk"),
        };
        Self::new(&origin.path, message).with_hint(hint)
    }
}

/// Files that are not in the format that they should be in, or not in one that is safe to use.
impl ChainError {
    pub(super) fn header(
        origin: &Origin,
        hint: String,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::new(&origin.path, format!("cannot use {origin}"))
            .with_hint(hint)
            .caused_by(source)
    }

    pub(super) fn not_in_format(
        origin: &Origin,
        (declared, evidence): (Format, Evidence),
        content: Option<Format>,
    ) -> Self {
        let declared_by = match evidence {
            Evidence::Flag => "--format",
            Evidence::Stated => "--backing",
            Evidence::Recorded => "the header above it",
            Evidence::Content | Evidence::Guess => "its content",
        };
        let found = describe(content);
        let message =
            format!("{origin:#} is declared as {declared} by {declared_by}, but it {found}");
        let format = content.unwrap_or(Format::Raw);
        Self::new(&origin.path, message).with_hint(match (evidence, &origin.named_by) {
            (Evidence::Recorded, Some(named_by)) => {
                rebase(&named_by.layer, Some(format), as_path(&named_by.name))
            }
            (Evidence::Stated, _) => backing_flag(format, &origin.path),
            _ => origin.format_option(format),
        })
    }

    /// The top image's name promises one format, and its content shows another, which cannot be
    /// believed or, in a qcow2 header, `names_a_file`.
    pub(super) fn name_disagrees(
        origin: &Origin,
        promised: Format,
        content: Option<Format>,
        names_a_file: bool,
    ) -> Self {
        let found = describe(content);
        let tail = if names_a_file {
            " that names another file"
        } else {
            ""
        };
        let message = format!("{origin} is named like a {promised} image, but it {found}{tail}");
        let option = |format| origin.format_option(format);
        Self::new(&origin.path, message).with_hint(match (promised, content) {
            (Format::Raw, Some(content)) => format!(
                "{}  # if it was made as one; {} if it was a guest's raw disk",
                option(content),
                option(Format::Raw)
            ),
            _ => option(content.unwrap_or(Format::Raw)),
        })
    }

    /// A file that a disk image has to be unpacked from first.
    pub(super) fn packed(origin: &Origin, packed: Packed) -> Self {
        let tail = match packed.is_container() {
            true => "a disk image has to be unpacked from it first",
            false => "there is no disk image in it",
        };
        let message = format!("{origin:#} is {}: {tail}", packed.what);
        let mut hint = packed.hint(&origin.path);
        if origin.named_by.is_none() && origin.has_format_option() {
            let option = origin.format_option(Format::Raw);
            hint += &format!("  # or {option} to use its bytes as a disk");
        }
        Self::new(&origin.path, message).with_hint(hint)
    }

    /// A block device with an image header, which any guest may have written.
    pub(super) fn header_on_device(origin: &Origin, content: Format) -> Self {
        let message = format!(
            "{origin} is a block device whose content starts like a {content} image; a guest that used it as a raw disk may have written that"
        );
        let [raw, other] = [Format::Raw, content].map(|format| origin.format_option(format));
        let hint = format!("{raw}  # or {other} if you put that image there");
        Self::new(&origin.path, message).with_hint(hint)
    }

    pub(super) fn iso_with_header(origin: &Origin, content: Format) -> Self {
        let message = format!("{origin} is an ISO image that starts like a {content} image");
        Self::new(&origin.path, message).with_hint(origin.format_option(Format::Raw))
    }
}

/// Backing files that are not followed. `layer` is the one whose header records `name`.
impl ChainError {
    /// `likely` is what the backing file seems to be.
    pub(super) fn format_missing(layer: &Path, name: &[u8], likely: &Likely) -> Self {
        let (image, backing) = (Quoted(layer), Quoted(as_path(name)));
        let message = format!(
            "{image} does not record the format of its backing file {backing}; QEMU would guess it from the content, which a guest may have written"
        );
        Self::new(layer, message).with_hint(likely.hint(layer, name))
    }

    pub(super) fn format_unknown(
        layer: &Path,
        name: &[u8],
        recorded: &str,
        likely: &Likely,
    ) -> Self {
        let (image, backing) = (Quoted(layer), Quoted(as_path(name)));
        let message = format!(
            "{image} records the format {recorded:?} for its backing file {backing}, which bivouac does not support"
        );
        Self::new(layer, message).with_hint(likely.hint(layer, name))
    }

    pub(super) fn backing_name(
        layer: &Path,
        name: &[u8],
        format: Option<Format>,
        source: NameError,
    ) -> Self {
        let (image, backing) = (Quoted(layer), Quoted(as_path(name)));
        let message = format!("{image} records the backing file {backing}, which is not followed");
        let hint = match &source {
            NameError::RelativeFile => {
                let path = name.get("file:".len()..).unwrap_or_default();
                rebase(layer, format, &plain_name(as_path(path)))
            }
            NameError::Protocol(protocol) if REMOTE.split(' ').any(|known| known == protocol) => {
                convert(
                    "qcow2",
                    layer,
                    "-flat.qcow2",
                    "flattens it, if you trust the name",
                )
            }
            _ => rebase(layer, format, Path::new("/path/to/the/file")),
        };
        Self::new(layer, message).with_hint(hint).caused_by(source)
    }

    /// The file at `path` is not where a name that the header of `by` records may lead. `stated` are
    /// the layers between the image and that file, unless the format of one is a guess.
    pub(super) fn not_followed(
        by: &BackingRef,
        path: &Path,
        given_as: GivenAs,
        stated: Option<Vec<(Format, &Path)>>,
    ) -> Self {
        let real = path.canonicalize();
        let path = real.as_deref().unwrap_or(path);
        let (image, name) = (Quoted(&by.layer), Quoted(as_path(&by.name)));
        let leads_to = match as_path(&by.name) == path {
            true => String::new(),
            false => format!(" (that is {})", Quoted(path)),
        };
        let message = format!(
            "{image} records the backing file {name}{leads_to}, which is not followed: it is no file in or below the directory of that image, and who made the image may have named any file of this host"
        );
        let trust = "--trust-chain";
        let hint = match (given_as, stated) {
            (GivenAs::Image, Some(stated)) => {
                let this = match by.format {
                    Some(format) => backing_flag(format, path),
                    None => format!("--backing FORMAT:{}", shell_word(path)),
                };
                let above = stated.iter();
                let above = above.map(|(format, path)| backing_flag(*format, path));
                let options = above.chain([this]).collect::<Vec<_>>().join(" ");
                format!("{options}  # or {trust}, if you trust who made the image")
            }
            (GivenAs::Image, None) => "solve the problem above first".to_owned(),
            _ => format!("{trust}  # if you trust who made the image"),
        };
        Self::new(&by.layer, message).with_hint(hint)
    }

    /// A file that is its own ancestor; `first` is its path when it came up first.
    pub(super) fn in_a_loop(origin: &Origin, first: &Path) -> Self {
        let first = Quoted(first);
        let message =
            format!("{origin:#} is already in the chain, as {first}: the chain is a loop");
        let right = Path::new("/path/to/the/right/file");
        Self::new(&origin.path, message).with_hint(match &origin.named_by {
            Some(named_by) => rebase(&named_by.layer, named_by.format, right),
            None => "name each file once in --backing".to_owned(),
        })
    }

    /// `origin` is the first layer over the limit.
    pub(super) fn too_deep(origin: &Origin, limit: usize) -> Self {
        let message =
            format!("the chain has more than {limit} layers; {origin:#} would be the next");
        let comment = "merges the layers from there down into one";
        Self::new(&origin.path, message).with_hint(match &origin.named_by {
            Some(named_by) => convert("qcow2", &named_by.layer, "-flat.qcow2", comment),
            None => "--backing none".to_owned(),
        })
    }

    /// `origin` is the first layer with which the L1 tables take more than `limit` bytes.
    pub(super) fn tables_too_large(origin: &Origin, limit: u64) -> Self {
        let limit = Size(limit);
        let message = format!("with {origin:#} the L1 tables of the chain take more than {limit}");
        Self::new(&origin.path, message).with_hint("--backing none".to_owned())
    }

    pub(super) fn explicit_below_none() -> Self {
        Self {
            message: "--backing none ends the chain, but another --backing follows it".to_owned(),
            layer: None,
            hint: Some("put --backing none last".to_owned()),
            source: None,
        }
    }

    pub(super) fn explicit_below_base(layer: &Path, format: Format, explicit: &Path) -> Self {
        let (above, below) = (Quoted(layer), Quoted(explicit));
        let message = format!(
            "--backing puts {below} under {above}, but a {format} image cannot have a backing file"
        );
        let hint = format!("leave out --backing ...:{}", shell_word(explicit));
        Self::new(layer, message).with_hint(hint)
    }
}

/// Protocols by which QEMU reads disks over a network.
const REMOTE: &str =
    "nbd nbd+tcp nbd+unix http https ftp ftps ssh rbd iscsi gluster gluster+tcp nfs sheepdog";

/// What content shows, as the rest of a sentence.
fn describe(content: Option<Format>) -> String {
    match content {
        Some(format) => format!("starts like a {format} image"),
        None => "starts like a raw disk: no image format's signature is there".to_owned(),
    }
}

/// For a file that a header names, and that cannot be a layer: no command that changes the file or
/// the rights to it, because whoever made the image chose it.
fn distrust(origin: &Origin) -> String {
    let advice = "do not trust this image, or ask whoever made it";
    match origin.has_backing_option() {
        true => format!("--backing none  # leaves the file out; {advice}"),
        false => advice.to_owned(),
    }
}

/// For a backing file that is missing: the name that the layer above should record. Where the
/// chain was moved, a bare name, which survives the next move.
fn rename_hint(origin: &Origin) -> Option<String> {
    let named_by = origin.named_by.as_ref()?;
    let name = Path::new(origin.path.file_name()?);
    let backing = match origin.was_moved() {
        true => plain_name(name),
        false => Path::new("/path/to").join(name).into(),
    };
    Some(rebase(&named_by.layer, named_by.format, &backing))
}

/// The first directory on the way to `path` that may not be searched, else `path` itself.
fn first_denied(path: &Path) -> &Path {
    let ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    let closed = |directory: &&Path| access(*directory, AccessFlags::X_OK).is_err();
    ancestors.into_iter().rev().find(closed).unwrap_or(path)
}
