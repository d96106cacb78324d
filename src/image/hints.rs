//! The commands and flags that hints are made of.
//!
//! A hint is one line to paste into a shell. Where a command is right only under a condition,
//! the condition follows as a shell comment.

use super::format::Format;
use crate::text::escape::{as_path, shell_word};
use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Changes the recorded backing name and format of `layer`, and nothing else.
pub fn rebase(layer: &Path, format: Option<Format>, backing: &Path) -> String {
    let (backing, layer) = (shell_word(backing), shell_word(layer));
    let name = format.map_or("FORMAT", Format::as_str);
    let comment = match format {
        Some(_) => "",
        None => {
            "  # FORMAT: raw if a guest used it as a raw disk, else the format it was created in"
        }
    };
    format!("qemu-img rebase -u -f qcow2 -F {name} -b {backing} {layer}{comment}")
}

/// Copies `image` and all that it refers to into one qcow2 file, whose name is that of the image
/// with `suffix` in place of its extension. `format` is a name that qemu-img knows.
pub fn convert(format: &str, image: &Path, suffix: &str, comment: &str) -> String {
    let (image, copy) = (shell_word(image), shell_word(with_suffix(image, suffix)));
    let gap = if comment.is_empty() { "" } else { "  # " };
    format!("qemu-img convert -f {format} -O qcow2 {image} {copy}{gap}{comment}")
}

/// `path` with `suffix` in place of its extension: the name of a file to be made.
pub fn with_suffix(path: &Path, suffix: &str) -> OsString {
    let mut name = path.with_extension("").into_os_string();
    name.push(suffix);
    name
}

/// Converts the backing file `name` of `layer`, whose path is `backing`, to qcow2, and records
/// the copy in its place. `driver` is the name of its format in QEMU.
pub fn convert_backing(driver: &str, backing: &Path, layer: &Path, name: &Path) -> String {
    let suffix = "-flat.qcow2";
    let copy = with_suffix(name, suffix);
    let rebase = rebase(layer, Some(Format::Qcow2), Path::new(&copy));
    format!("{} && {rebase}", convert(driver, backing, suffix, ""))
}

pub fn backing_flag(format: Format, path: &Path) -> String {
    let mut value = OsString::from(format.as_str());
    value.push(":");
    value.push(path);
    format!("--backing {}", shell_word(value))
}

/// A relative name that QEMU cannot take for a protocol.
pub fn plain_name(name: &Path) -> Cow<'_, Path> {
    if name.as_os_str().as_encoded_bytes().contains(&b':') && name.is_relative() {
        Path::new("./").join(name).into()
    } else {
        name.into()
    }
}

/// What is proposed for a backing file whose format is not known.
#[derive(Debug, PartialEq, Eq)]
pub enum Likely {
    /// To record this format: what the content shows, unless the name promises something else.
    Record(Option<Format>),
    /// To convert the file at `path` first, from the format that QEMU calls `driver`.
    Convert { driver: String, path: PathBuf },
}

impl Likely {
    /// The format to record, if the file need not be converted.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Record(format) => *format,
            Self::Convert { .. } => None,
        }
    }

    /// The command for `layer`, which records the backing file by `name`.
    pub fn hint(&self, layer: &Path, name: &[u8]) -> String {
        match self {
            Self::Record(format) => rebase(layer, *format, as_path(name)),
            Self::Convert { driver, path } => convert_backing(driver, path, layer, as_path(name)),
        }
    }
}
