//! What a backing file seems to be whose format is not recorded, or recorded as one that bivouac
//! does not read: for the hint only. A person confirms it.

use super::format::Format;
use super::hints::{convert_backing, rebase};
use super::image_file::ImageFile;
use super::origin::Origin;
use super::qcow2::is_version_1;
use crate::text::escape::as_path;
use std::path::{Path, PathBuf};

/// What the hint proposes.
#[derive(Debug, PartialEq, Eq)]
pub enum Likely {
    /// To record this format: what the content shows, unless the name promises something else.
    Record(Option<Format>),
    /// To convert the file at `path` first, from the format that QEMU calls `driver`.
    Convert { driver: String, path: PathBuf },
}

impl Likely {
    /// By content and name of the file at `path`, and the driver that is recorded for it.
    pub fn of(path: &Path, recorded: Option<&str>) -> Self {
        let convert = |driver: &str| Self::Convert {
            driver: driver.to_owned(),
            path: path.to_owned(),
        };
        // Formats that QEMU reads and bivouac does not.
        if let Some(driver @ ("bochs" | "cloop" | "dmg")) = recorded {
            return convert(driver);
        }
        let promised = Format::promised_by_name(path);
        let file = ImageFile::open(&Origin::given(path)).ok();
        let Some((file, head)) = file.and_then(|file| file.head().ok().map(|head| (file, head)))
        else {
            return match recorded {
                Some("qcow") => convert("qcow"),
                _ => Self::Record(promised),
            };
        };
        if is_version_1(&head) {
            return convert("qcow");
        }
        let content = file.content(&head).unwrap_or(Format::Raw);
        let agrees = promised.is_none_or(|promised| promised == content);
        Self::Record(agrees.then_some(content))
    }

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
