//! The entries of a directory, and paths in the image.

use std::collections::HashMap;

use super::nodes::Known;
use crate::protocol::TreeDetail;

/// The longest name (`NAME_MAX`).
pub(super) const MAX_NAME: usize = 255;

/// The entries of a directory, by inode number: in this order many programs visit them.
#[derive(Debug)]
pub(super) struct Listing {
    pub entries: Vec<(Vec<u8>, Known)>,
    by_name: HashMap<Vec<u8>, usize>,
    /// There are entries that could not be read.
    pub is_partial: bool,
    /// How much was asked of each entry.
    pub detail: TreeDetail,
}

impl Listing {
    pub fn new(mut entries: Vec<(Vec<u8>, Known)>, detail: TreeDetail) -> Self {
        entries.sort_by_key(|(_, known)| known.inode());
        let names = entries.iter().enumerate();
        let by_name = names.map(|(place, (name, _))| (name.clone(), place));
        Self {
            by_name: by_name.collect(),
            entries,
            is_partial: false,
            detail,
        }
    }

    /// Where the entry of a name is.
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn find(&self, name: &[u8]) -> Option<&Known> {
        Some(&self.entries[self.place(name)?].1)
    }
}

/// The directory that a file is in, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

/// Whether the kernel takes it as one name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME
        && !name.contains(&b'/')
        && !name.contains(&0)
}
