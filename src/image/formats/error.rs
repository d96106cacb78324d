//! Why an image in one of these formats is refused, and what to do about it.
//!
//! The texts name no file: they are the second half of a message that does.

use crate::image::format::Format;
use crate::image::hints::{convert, with_suffix};
use crate::text::escape::shell_word;
use std::io;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("it is not a {0} image: the signature is missing")]
    NotThis(Format),
    #[error("the file ends before its {0} header does")]
    Truncated(Format),
    /// A part that the header or a table refers to is behind the end of the file.
    #[error("it was cut off: the file ends before the data that its {0} header refers to")]
    CutOff(Format),
    #[error("its {format} header cannot be read")]
    Read { format: Format, source: io::Error },
    #[error("its {format} version {version} is not supported")]
    Version { format: Format, version: u32 },
    #[error("its {format} header is malformed: {what}")]
    Malformed { format: Format, what: &'static str },
    #[error(
        "it is a vmdk descriptor, a text file that names the files which hold the disk; only single-file vmdk images are accepted"
    )]
    VmdkDescriptor,
    #[error(
        "it is one extent of a vmdk disk in several files; only single-file vmdk images are accepted"
    )]
    VmdkExtent,
    #[error(
        "its vmdk header states a capacity of 0, which makes QEMU open the files that its descriptor names"
    )]
    VmdkCapacityZero,
    #[error("it is a vmdk of type {0:?}; only monolithicSparse and streamOptimized are accepted")]
    VmdkType(String),
    #[error("its embedded vmdk descriptor names another file: {0:?}")]
    VmdkNamesFile(String),
    #[error(
        "it is a differencing {0} image, which needs its parent; only single files are accepted"
    )]
    HasParent(Format),
    #[error(
        "its log has to be replayed, which would change the image: the program that wrote to it did not close it"
    )]
    VhdxLog,
    #[error("its virtual size is 0: there is no disk in it")]
    NoDisk,
    #[error("its virtual size is larger than any disk can be")]
    DiskTooLarge,
}

impl FormatError {
    /// A command that helps with the image at `path`, which is in `format`.
    pub(in crate::image) fn hint(&self, path: &Path, format: Format) -> String {
        let image = shell_word(path);
        match (self, format) {
            // qemu-img reads a vmdk or qed file with its parent, but not these.
            (Self::HasParent(_), Format::Vdi) => format!(
                "VBoxManage clonemedium disk {image} {}",
                shell_word(with_suffix(path, "-flat.vdi"))
            ),
            (Self::HasParent(_), Format::Vhdx | Format::Vpc) => {
                format!("Merge-VHD -Path {image}  # in PowerShell, on the machine with its parent")
            }
            (
                Self::VmdkDescriptor
                | Self::VmdkType(_)
                | Self::VmdkNamesFile(_)
                | Self::HasParent(_),
                _,
            ) => {
                let comment = "if you trust it: QEMU opens the files that it names";
                convert(format.as_str(), path, ".qcow2", comment)
            }
            (Self::VmdkExtent, _) => format!(
                "qemu-img convert -f vmdk -O qcow2 DESCRIPTOR.vmdk {}  # the descriptor is a text file beside it",
                shell_word(with_suffix(path, ".qcow2"))
            ),
            (Self::VhdxLog, _) => format!(
                "qemu-img check -f vhdx -r all {image}  # replays the log into the image: copy it first if it has to stay as it is"
            ),
            (Self::CutOff(_), _) => "download or copy the image again".to_owned(),
            (Self::VmdkCapacityZero, _) => {
                "download the image again; no program writes such a header on purpose".to_owned()
            }
            _ => format!(
                "qemu-img info -f {format} {image}  # if QEMU cannot read it either, download the image again"
            ),
        }
    }
}
