//! What the agent reads in superblocks, against util-linux's blkid.

use std::path::Path;

use bivouac::block::superblock;

use super::tables::device;
use crate::env::filesystems::{empty, lvm, run};
use crate::env::formats;

/// `KEY` in what blkid says of a file.
pub fn blkid(path: &Path, key: &str) -> Option<String> {
    let said = run(
        "blkid",
        &["-p", "-o", "value", "-s", key, path.to_str().unwrap()],
    );
    // It ends in a line feed, and is empty if there is none.
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
