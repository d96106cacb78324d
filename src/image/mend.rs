//! The mend of each [`ChainError`]: one line, a shell command or a flag, ready to be pasted.
//!
//! It only says what to do and does nothing. Where a command is right only under a
//! condition, the condition stands behind it as a shell comment.

use super::backing_name::NameError;
use super::error::ChainError;
use super::foreign::ForeignError;
use super::format::{Evidence, Format};
use super::opened::Kind;
use super::place::{NamedBy, Place};
use super::qcow2::HeaderError;
use crate::text::escape::{as_path, shell_line, shell_word};
use std::ffi::{OsStr, OsString};
use std::path::Path;

impl ChainError {
    /// The command or flag that mends it; `None` where only the user can know.
    pub fn mend(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { place, beside, .. } => return missing(place, *beside),
            Self::Denied { denies, .. } => {
                let right = if denies.is_dir() { "x" } else { "r" };
                format!(
                    "sudo setfacl -m u:\"$(id -un)\":{right} {}",
                    shell_word(denies)
                )
            }
            Self::Open { place, .. } => {
                shell_line([OsStr::new("ls"), OsStr::new("-ld"), place.path.as_os_str()])
            }
            Self::Read { place, .. } => format!(
                "cp {} /var/tmp/  # if that fails too, the medium is damaged; sudo dmesg tells",
                shell_word(&place.path)
            ),
            Self::WrongKind { place, kind } => wrong_kind(&place.path, *kind),
            Self::Empty { place } => {
                format!(
                    "truncate -s 10G {}  # if a blank raw disk is meant",
                    shell_word(&place.path)
                )
            }
            Self::Qcow2 { place, source } => header(&place.path, source),
            Self::Foreign {
                place,
                format,
                source,
            } => foreign(&place.path, *format, source),
            Self::NotInFormat {
                place,
                evidence,
                content,
                ..
            } => {
                let format = content.unwrap_or(Format::Raw);
                match (evidence, &place.named_by) {
                    (Evidence::Recorded, Some(named)) => {
                        rebase(&named.layer, Some(format), as_path(&named.name))
                    }
                    (Evidence::Stated, _) => stated(Some(format), &place.path),
                    _ => format!("--format {format}"),
                }
            }
            Self::NameDisagrees {
                promised: Format::Raw,
                content: Some(content),
                ..
            } => format!(
                "--format {content}  # if it was made as one; --format raw if it was a guest's raw disk"
            ),
            Self::NameDisagrees { content, .. } => {
                format!("--format {}", content.unwrap_or(Format::Raw))
            }
            Self::Packed { path, command } => {
                let words = command.iter().map(OsStr::new);
                shell_line(words.chain([path.as_os_str()]))
            }
            Self::HeaderOnDevice { content, .. } => {
                format!("--format raw  # or --format {content} if you put that image there")
            }
            Self::IsoWithHeader { .. } => "--format raw".to_owned(),
            Self::FormatMissing {
                layer,
                name,
                likely,
            } => rebase(layer, *likely, as_path(name)),
            Self::FormatUnknown {
                layer,
                name,
                likely,
                ..
            } => rebase(layer, *likely, as_path(name)),
            Self::BackingName {
                layer,
                name,
                format,
                source,
            } => match source {
                NameError::RelativeFile => {
                    let path = name.get("file:".len()..).unwrap_or_default();
                    rebase(layer, *format, &plain_name(as_path(path)))
                }
                NameError::Protocol(protocol) if is_remote(protocol) => format!(
                    "qemu-img convert -f qcow2 -O qcow2 {} {}  # flattens it, if you trust the name",
                    shell_word(layer),
                    shell_word(with_suffix(layer, "-flat.qcow2")),
                ),
                _ => rebase(layer, *format, Path::new("/path/to/the/file")),
            },
            Self::Loop { place, .. } => match &place.named_by {
                Some(named) => rebase(
                    &named.layer,
                    named.format,
                    Path::new("/path/to/the/right/file"),
                ),
                None => "name each file once in --backing".to_owned(),
            },
            Self::TooDeep { place, .. } => match &place.named_by {
                Some(named) => format!(
                    "qemu-img convert -f qcow2 -O qcow2 {} {}  # one layer in place of those from there down",
                    shell_word(&named.layer),
                    shell_word(with_suffix(&named.layer, "-flat.qcow2")),
                ),
                None => "--backing none".to_owned(),
            },
            Self::StatedBelowNone => "put --backing none last".to_owned(),
            Self::StatedBelowBase { stated, .. } => {
                format!("leave out --backing ...:{}", shell_word(stated))
            }
        })
    }
}

/// `qemu-img rebase -u`, which rewrites the recorded name and format and nothing else.
fn rebase(layer: &Path, format: Option<Format>, backing: &Path) -> String {
    let words: [&OsStr; 10] = [
        "qemu-img".as_ref(),
        "rebase".as_ref(),
        "-u".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "-F".as_ref(),
        format.map_or("FORMAT", Format::as_str).as_ref(),
        "-b".as_ref(),
        backing.as_ref(),
        layer.as_ref(),
    ];
    let mut line = shell_line(words);
    if format.is_none() {
        line.push_str("  # FORMAT: raw if a guest had it as a raw disk, else what it was made as");
    }
    line
}

/// The flag that states one layer.
fn stated(format: Option<Format>, path: &Path) -> String {
    let mut value = OsString::from(format.map_or("FORMAT", Format::as_str));
    value.push(":");
    value.push(path);
    format!("--backing {}", shell_word(value))
}

/// The mend of a missing file: the layer above gets the name it should record.
fn missing(place: &Place, beside: bool) -> Option<String> {
    let Some(NamedBy { layer, format, .. }) = &place.named_by else {
        return None;
    };
    let file_name = Path::new(place.path.file_name()?);
    Some(if beside {
        // A bare name goes on working when the chain is moved again.
        rebase(layer, *format, &plain_name(file_name))
    } else {
        rebase(layer, *format, &Path::new("/path/to").join(file_name))
    })
}

/// A relative name that QEMU cannot take for a protocol.
fn plain_name(name: &Path) -> std::borrow::Cow<'_, Path> {
    if name.as_os_str().as_encoded_bytes().contains(&b':') && name.is_relative() {
        Path::new("./").join(name).into()
    } else {
        name.into()
    }
}

/// Protocols by which QEMU reads a network's or a cluster's disks.
fn is_remote(protocol: &str) -> bool {
    const REMOTE: [&str; 14] = [
        "nbd",
        "nbd+tcp",
        "nbd+unix",
        "http",
        "https",
        "ftp",
        "ftps",
        "ssh",
        "rbd",
        "iscsi",
        "gluster",
        "gluster+tcp",
        "nfs",
        "sheepdog",
    ];
    REMOTE.contains(&protocol)
}

/// `path` without its extension, with `suffix` behind: the name of a file to be made.
fn with_suffix(path: &Path, suffix: &str) -> OsString {
    let mut name = path.with_extension("").into_os_string();
    name.push(suffix);
    name
}

/// What to do with a file that is no file.
fn wrong_kind(path: &Path, kind: Kind) -> String {
    match kind {
        Kind::Directory => format!("ls {}  # and name an image in it", shell_word(path)),
        Kind::Fifo => format!("cat {} > disk.img  # and name that", shell_word(path)),
        Kind::Socket => {
            let mut url = OsString::from("nbd+unix:///?socket=");
            url.push(path);
            format!(
                "qemu-img convert -O qcow2 {} disk.qcow2  # if an NBD server listens there",
                shell_word(url)
            )
        }
        _ => "lsblk -p  # and name a block device or a file".to_owned(),
    }
}

/// What to do with a qcow2 header that is refused.
fn header(path: &Path, error: &HeaderError) -> String {
    let image = shell_word(path);
    let flat = shell_word(with_suffix(path, "-flat.qcow2"));
    match error {
        HeaderError::Version(1) => format!("qemu-img convert -f qcow -O qcow2 {image} {flat}"),
        HeaderError::ExternalDataFile { .. } => format!(
            "qemu-img convert -f qcow2 -O qcow2 {image} {flat}  # if you trust it: QEMU opens the file that it names"
        ),
        HeaderError::Encrypted(_) => {
            let mut options = OsString::from("driver=qcow2,encrypt.key-secret=key,file.filename=");
            // Within QEMU's option strings a comma is doubled.
            for (nth, part) in path
                .as_os_str()
                .as_encoded_bytes()
                .split(|byte| *byte == b',')
                .enumerate()
            {
                options.push(if nth > 0 { ",," } else { "" });
                options.push(as_path(part));
            }
            format!(
                "qemu-img convert --object secret,id=key,file=PASSWORD_FILE --image-opts {} -O qcow2 {flat}",
                shell_word(options)
            )
        }
        HeaderError::UnknownFeatures(_)
        | HeaderError::Version(_)
        | HeaderError::CompressionType(_) => {
            format!("qemu-img convert -f qcow2 -O qcow2 {image} {flat}  # with a newer QEMU")
        }
        _ => format!(
            "qemu-img check -f qcow2 {image}  # if QEMU cannot read it either, fetch the image anew"
        ),
    }
}

/// What to do with an image of another format that is refused.
fn foreign(path: &Path, format: Format, error: &ForeignError) -> String {
    let image = shell_word(path);
    let flat = shell_word(with_suffix(path, ".qcow2"));
    match (error, format) {
        // Of QEMU's drivers, those for vmdk and qed read a file together with its parent.
        (ForeignError::HasParent(_), Format::Vdi) => format!(
            "VBoxManage clonemedium disk {image} {}",
            shell_word(with_suffix(path, "-flat.vdi"))
        ),
        (ForeignError::HasParent(_), Format::Vhdx | Format::Vpc) => {
            format!("Merge-VHD -Path {image}  # in PowerShell, where its parent is")
        }
        (
            ForeignError::VmdkDescriptor
            | ForeignError::VmdkType(_)
            | ForeignError::VmdkNamesFile(_)
            | ForeignError::HasParent(_),
            _,
        ) => format!(
            "qemu-img convert -f {format} -O qcow2 {image} {flat}  # if you trust it: QEMU opens the files that it names"
        ),
        (ForeignError::VmdkExtent, _) => format!(
            "qemu-img convert -f vmdk -O qcow2 DESCRIPTOR.vmdk {flat}  # the descriptor is a text file beside it"
        ),
        (ForeignError::VmdkObeysDescriptor, _) => {
            "fetch the image anew; no program writes such a header on purpose".to_owned()
        }
        _ => format!(
            "qemu-img info -f {format} {image}  # if QEMU cannot read it either, fetch the image anew"
        ),
    }
}
