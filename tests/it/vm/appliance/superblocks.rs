//! What the agent reads in superblocks, against util-linux's blkid.

use std::path::Path;
use std::process::Command;

use bivouac::block::superblock;

use super::tables::device;
use crate::env::filesystems::{empty, lvm};
use crate::env::formats;

/// `KEY` in what blkid says of a file; `None` if it says nothing.
pub fn blkid(path: &Path, key: &str) -> Option<String> {
    let mut blkid = Command::new("/sbin/blkid");
    blkid.args(["-p", "-o", "value", "-s", key]).arg(path);
    let said = String::from_utf8(blkid.output().unwrap().stdout).unwrap();
    said.strip_suffix('\n').map(str::to_owned)
}

/// The name that blkid has for a kind.
pub fn name_of_blkid(kind: &str) -> &str {
    match kind {
        "luks" => "crypto_LUKS",
        "lvm" => "LVM2_member",
        "verity" => "DM_verity_hash",
        other => other,
    }
}

#[test]
fn kinds_identifiers_and_labels_are_those_that_blkid_finds() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = formats::all(dir);
    let data = empty(dir, "lvm-data", 23);
    let paths = made
        .into_iter()
        .map(|made| made.path)
        .chain(lvm(dir, &data, &data));
    let mut wrong = Vec::new();
    for path in paths {
        let found = superblock::probe(&device(&path));
        let found = found.map(|found| {
            let kind = name_of_blkid(found.kind.name()).to_owned();
            (Some(kind), found.uuid, found.label)
        });
        let expected = (
            blkid(&path, "TYPE"),
            blkid(&path, "UUID"),
            blkid(&path, "LABEL"),
        );
        if found.as_ref() != Some(&expected) {
            wrong.push(format!("{path:?}: {found:?}, but blkid says {expected:?}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
