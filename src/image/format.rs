//! The names of formats, their signatures, and where a layer's format is known from.
//!
//! Pure: it opens no file. A format is recognised by its signature or not at all.

use crate::linux::bytes::Fields;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The disk image formats that a layer may have.
///
/// Only [`Format::Qcow2`] may have a layer below it; the others are accepted as single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The bytes of the disk, as they are.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3 (docs/interop/qcow2.txt).
    Qcow2,
    /// VMware's, as a single sparse file (monolithicSparse or streamOptimized).
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Microsoft's newer format (MS-VHDX).
    Vhdx,
    /// Microsoft's older format, VHD; QEMU's driver for it is called `vpc`.
    Vpc,
    /// QEMU's enhanced disk format, abandoned in favour of qcow2 version 3.
    Qed,
    /// Parallels's.
    Parallels,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vdi,
        Self::Vhdx,
        Self::Vpc,
        Self::Qed,
        Self::Parallels,
    ];

    /// QEMU's name of the block driver, as in `-blockdev driver=...` and `qemu-img -f`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhdx => "vhdx",
            Self::Vpc => "vpc",
            Self::Qed => "qed",
            Self::Parallels => "parallels",
        }
    }

    /// The format whose QEMU driver has exactly this name, as headers record it.
    pub fn of_driver(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The format that a file's name promises by its extension, if it promises one.
    ///
    /// `.img`, `.iso` and `.dd` promise raw as `.raw` does: such files are handed to guests as
    /// raw disks, and a guest can write any header into a raw disk.
    pub fn promised_by_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "raw" | "img" | "iso" | "dd" => Self::Raw,
            "qcow2" | "qcow" => Self::Qcow2,
            "vmdk" => Self::Vmdk,
            "vdi" => Self::Vdi,
            "vhdx" => Self::Vhdx,
            "vhd" | "vpc" => Self::Vpc,
            "qed" => Self::Qed,
            "hds" => Self::Parallels,
            _ => return None,
        })
    }

    /// The format whose signature stands at the start of `head`, the first bytes of a file.
    ///
    /// `None` means no signature, which for a top image means raw. A vmdk text descriptor
    /// counts as vmdk here, so that it is refused as such and never booted as a raw disk.
    pub fn recognised(head: &[u8]) -> Option<Self> {
        const SIGNATURES: [(usize, &[u8], Format); 10] = [
            (0, b"QFI\xfb", Format::Qcow2),
            (0, b"KDMV", Format::Vmdk),
            (0, b"COWD", Format::Vmdk),
            (0, b"# Disk DescriptorFile", Format::Vmdk),
            (0, b"vhdxfile", Format::Vhdx),
            (0, b"conectix", Format::Vpc),
            (0, b"QED\0", Format::Qed),
            (0, b"WithoutFreeSpace", Format::Parallels),
            (0, b"WithouFreSpacExt", Format::Parallels),
            (0x40, b"\x7f\x10\xda\xbe", Format::Vdi),
        ];
        let mut signatures = SIGNATURES.into_iter();
        let found = signatures.find(|(at, signature, _)| head.has(*at, signature));
        found.map(|(_, _, format)| format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown disk format {0:?}; expected raw, qcow2, vmdk, vdi, vhdx, vpc (or vhd), qed or parallels"
)]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads a name as people type it: any case, and `vhd` for `vpc`.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let format = match name.to_ascii_lowercase().as_str() {
            "vhd" => Some(Self::Vpc),
            other => Self::of_driver(other),
        };
        format.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl clap::ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let value = clap::builder::PossibleValue::new(self.as_str());
        Some(match self {
            Self::Vpc => value.alias("vhd"),
            _ => value,
        })
    }
}

/// Where the format of a layer is known from, the strongest evidence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// `--format` said so.
    Flag,
    /// `--backing FORMAT:PATH` said so.
    Stated,
    /// The header of the layer above records it as its backing format.
    Recorded,
    /// The file's content, used for the top image only.
    Content,
    /// The content of a lower layer whose format is not recorded. Only in chains that are
    /// refused.
    Guess,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "from --format",
            Self::Stated => "from --backing",
            Self::Recorded => "recorded above",
            Self::Content => "from content",
            Self::Guess => "a guess",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_reads_back_from_its_own_name() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert_eq!(format.to_string().to_uppercase().parse(), Ok(format));
        }
        assert_eq!("vhd".parse(), Ok(Format::Vpc));
        assert!("qcow".parse::<Format>().is_err());
        assert_eq!(
            Format::of_driver("vhd"),
            None,
            "headers record driver names only"
        );
    }

    #[test]
    fn names_that_guests_get_as_raw_disks_promise_raw() {
        for name in ["a.raw", "a.img", "A.IMG", "a.iso", "/x.qcow2/a.dd"] {
            assert_eq!(
                Format::promised_by_name(Path::new(name)),
                Some(Format::Raw),
                "{name}"
            );
        }
        for name in ["a", ".img", "a.snap1", "a.qcow2.bak", "/dev/vg/root"] {
            assert_eq!(Format::promised_by_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn short_heads_are_recognised_as_nothing() {
        assert_eq!(Format::recognised(b""), None);
        assert_eq!(Format::recognised(b"QFI"), None);
        assert_eq!(Format::recognised(&[0; 0x43]), None);
        assert_eq!(
            Format::recognised(b"LUKS\xba\xbe"),
            None,
            "raw LUKS is just raw"
        );
    }
}
