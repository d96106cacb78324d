//! Opens the files that a run writes for its user: the console log, the changes and the report. A mistyped
//! path must not cost an image: neither is opened if that would empty one.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use nix::fcntl::OFlag;

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
    log("--console-log", path, chains, others)
}

/// Opens the file for what has changed, in the same way.
pub(super) fn changes(path: &Path, chains: &[Chain]) -> Result<File, Failure> {
    log("--diff", path, chains, &[])
}

fn log(
    option: &str,
    path: &Path,
    chains: &[Chain],
    others: &[(&str, Option<&Path>)],
) -> Result<File, Failure> {
    let (file, metadata) = open(option, path)?;
    let mut layers = chains.iter().flat_map(Chain::layers);
    if layers.any(|layer| {
        let layer = layer.identity();
        let same_device = layer.rdev != 0 && layer.rdev == metadata.rdev();
        same_device || (layer.dev, layer.ino) == (metadata.dev(), metadata.ino())
    }) {
        return Err(refused(option, path, "an image that the guest is given"));
    }
    refuse_disk(option, path, &metadata)?;
    let is_log = |other: &Path| {
        let other = fs::metadata(other);
        metadata.is_file() && other.is_ok_and(|other| same_file(&other, &metadata))
    };
    for (name, other) in others {
        if other.is_some_and(is_log) {
            let what = format!("the file of {name} too");
            return Err(refused(option, path, &what));
        }
    }
    empty(option, path, file, &metadata)
}

/// Opens the report, empty. No image is known yet, so a file with content must be an earlier
/// report.
pub(super) fn report(path: &Path) -> Result<File, Failure> {
    let (file, metadata) = open("--report", path)?;
    refuse_disk("--report", path, &metadata)?;
    if metadata.is_file() && metadata.len() > 0 && !starts_like_a_report(path, &metadata) {
        return Err(refused(
            "--report",
            path,
            "a file with something else in it",
        ));
    }
    empty("--report", path, file, &metadata)
}

/// Opens a file once, with its content: what is checked is what is emptied. A link is followed if it
/// is this user's or root's, such as /dev/stderr.
fn open(option: &str, path: &Path) -> Result<(File, Metadata), Failure> {
    let open = |flags: OFlag| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let flags = flags | OFlag::O_NOCTTY;
        options.custom_flags(flags.bits()).open(path)
    };
    let opened = open(OFlag::O_NOFOLLOW).or_else(|error| {
        let owner = path.symlink_metadata()?.uid();
        match owner == 0 || owner == nix::unistd::geteuid().as_raw() {
            true => open(OFlag::empty()),
            false => Err(error),
        }
    });
    let found = opened.and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = found.with_context(|| format!("{option} {}", path.display()))?;
    Ok((file, metadata))
}

fn empty(option: &str, path: &Path, file: File, metadata: &Metadata) -> Result<File, Failure> {
    if metadata.is_file() {
        let emptied = file.set_len(0);
        emptied.with_context(|| format!("{option} {}", path.display()))?;
    }
    Ok(file)
}

fn same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn starts_like_a_report(path: &Path, opened: &Metadata) -> bool {
    let mut start = [0; REPORT.len()];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut start)?;
        file.metadata()
    });
    read.is_ok_and(|read| same_file(&read, opened)) && start == REPORT
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
