//! Opens the two files that a run writes for its user, the console log and the report. A mistyped
//! path must not cost an image: neither is opened if that would empty one.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Context;

use crate::image::chain::Chain;
use crate::launch::Failure;

const REPORT: &[u8] = b"{\n  \"bivouac\": ";

/// Opens the console log, empty. Refuses the file of any layer of `chains`, and those of
/// `others`, each with the option that names it.
pub(super) fn console_log(
    path: &Path,
    chains: &[Chain],
    others: &[(&str, Option<&Path>)],
) -> Result<File, Failure> {
    if let Ok(metadata) = fs::metadata(path) {
        let mut layers = chains.iter().flat_map(Chain::layers);
        if layers.any(|layer| {
            let layer = layer.identity();
            let same_device = layer.rdev != 0 && layer.rdev == metadata.rdev();
            same_device || (layer.dev, layer.ino) == (metadata.dev(), metadata.ino())
        }) {
            return Err(refused(
                "--console-log",
                path,
                "an image that the guest is given",
            ));
        }
        refuse_disk("--console-log", path, &metadata)?;
        let is_log = |other: &Path| {
            fs::metadata(other).is_ok_and(|other| {
                metadata.is_file() && (other.dev(), other.ino()) == (metadata.dev(), metadata.ino())
            })
        };
        for (option, other) in others {
            if other.is_some_and(is_log) {
                let what = format!("the file of {option} too");
                return Err(refused("--console-log", path, &what));
            }
        }
    }
    Ok(File::create(path).with_context(|| format!("--console-log {}", path.display()))?)
}

/// Opens the report, empty. No image is known yet, so a file with content must be an earlier
/// report.
pub(super) fn report(path: &Path) -> Result<File, Failure> {
    if let Ok(metadata) = fs::metadata(path) {
        refuse_disk("--report", path, &metadata)?;
        if metadata.is_file() && metadata.len() > 0 && !starts_like_a_report(path) {
            return Err(refused(
                "--report",
                path,
                "a file with something else in it",
            ));
        }
    }
    Ok(File::create(path).with_context(|| format!("--report {}", path.display()))?)
}

fn starts_like_a_report(path: &Path) -> bool {
    let mut start = [0; REPORT.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == REPORT
}

fn refuse_disk(option: &str, path: &Path, metadata: &Metadata) -> Result<(), Failure> {
    match metadata.file_type().is_block_device() {
        true => Err(refused(option, path, "a block device")),
        false => Ok(()),
    }
}

fn refused(option: &str, path: &Path, what: &str) -> Failure {
    Failure::with_hint(
        anyhow::anyhow!(
            "{option} {}: this is {what}, and would be overwritten",
            path.display()
        ),
        format!("another file for {option}"),
    )
}
