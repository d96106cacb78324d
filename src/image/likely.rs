//! What a backing file seems to be whose format is not recorded, or recorded as one that bivouac
//! does not read: for the hint only. A person confirms it.

use super::format::Format;
use super::hints::Likely;
use super::image_file::ImageFile;
use super::origin::Origin;
use super::qcow2::is_version_1;
use std::path::Path;

/// What to propose for the file at `path`, by its content, its name, and the driver recorded for it.
pub fn guess(path: &Path, recorded: Option<&str>) -> Likely {
    let convert = |driver: &str| Likely::Convert {
        driver: driver.to_owned(),
        path: path.to_owned(),
    };
    // Formats that QEMU reads and bivouac does not.
    if let Some(driver @ ("bochs" | "cloop" | "dmg")) = recorded {
        return convert(driver);
    }
    let promised = Format::promised_by_name(path);
    let file = ImageFile::open(&Origin::given(path)).ok();
    let Some((file, head)) = file.and_then(|file| file.head().ok().map(|head| (file, head))) else {
        return match recorded {
            Some("qcow") => convert("qcow"),
            _ => Likely::Record(promised),
        };
    };
    if is_version_1(&head) {
        return convert("qcow");
    }
    let content = file.content(&head).unwrap_or(Format::Raw);
    let agrees = promised.is_none_or(|promised| promised == content);
    Likely::Record(agrees.then_some(content))
}
