//! The subvolumes of a btrfs, by the items of its tree of roots (<linux/btrfs_tree.h>).

use std::collections::BTreeMap;

use super::ids::uuid;
use crate::linux::bytes::Fields;

/// The top of every btrfs (BTRFS_FS_TREE_OBJECTID).
pub const TOP: u64 = 5;
/// Holds the entry that names the default subvolume (BTRFS_ROOT_TREE_DIR_OBJECTID).
const TREE_DIRECTORY: u64 = 6;
/// The first and the last number of a subvolume (BTRFS_FIRST_FREE_OBJECTID, _LAST_).
const FIRST: u64 = 256;
const LAST: u64 = u64::MAX - 255;

/// Types of items: BTRFS_DIR_ITEM_KEY, BTRFS_ROOT_ITEM_KEY, BTRFS_ROOT_BACKREF_KEY.
const DIRECTORY_ITEM: u32 = 84;
const ROOT_ITEM: u32 = 132;
const BACK_REFERENCE: u32 = 144;

/// Limit on the subvolumes that are read.
const MAX_SUBVOLUMES: usize = 4096;
/// Limit on the subvolumes in each other.
const MAX_DEPTH: usize = 64;
/// Bytes of the header of an item in the answer to a search (`struct btrfs_ioctl_search_header`).
const HEADER: usize = 32;

/// A subvolume, the top included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subvolume {
    pub id: u64,
    /// Whether it can only be read, as snapshots for backups are.
    pub read_only: bool,
    pub uuid: Option<String>,
    /// The UUID of the subvolume of which it is a snapshot.
    pub parent: Option<String>,
    /// When it was made: the number of the transaction.
    pub made: u64,
    /// The subvolume that it lies in, the directory there by its inode, and its name.
    pub place: Option<(u64, u64, Vec<u8>)>,
}

/// The subvolumes of one btrfs.
#[derive(Clone, Debug, Default)]
pub struct Subvolumes {
    all: BTreeMap<u64, Subvolume>,
    /// The one that is mounted without an option.
    default: Option<u64>,
}

impl Subvolumes {
    /// Reads the answer to a search, and returns the key after the last item; `None` at the end.
    pub fn read(&mut self, items: usize, buffer: &[u8]) -> Option<(u64, u8, u64)> {
        let mut at = 0;
        let mut last = None;
        for _ in 0..items {
            let header = buffer.get(at..at + HEADER)?;
            let (object, offset) = (header.le64(8), header.le64(16));
            let (kind, length) = (header.le32(24), header.le32(28) as usize);
            if object > LAST || self.all.len() == MAX_SUBVOLUMES {
                return None;
            }
            let data = buffer.part(at + HEADER, length);
            self.item(object, kind, offset, data);
            last = Some((object, kind as u8, offset));
            at = at.checked_add(HEADER)?.checked_add(length)?;
        }
        let (object, kind, offset) = last?;
        match offset.checked_add(1) {
            Some(offset) => Some((object, kind, offset)),
            None => Some((object, kind.checked_add(1)?, 0)),
        }
    }

    fn item(&mut self, object: u64, kind: u32, offset: u64, data: &[u8]) {
        match kind {
            // The location's object is the subvolume.
            DIRECTORY_ITEM if object == TREE_DIRECTORY => {
                let name = data.part(30, usize::from(data.le16(27)));
                if name == b"default" {
                    self.default = data.get_le64(0);
                }
            }
            // Without references it is being deleted.
            ROOT_ITEM if (object == TOP || object >= FIRST) && data.le32(216) > 0 => {
                let found = self.all.entry(object).or_default();
                found.id = object;
                found.read_only = data.le64(208) & 1 != 0;
                // A kernel from before these fields leaves another generation in them.
                if data.le64(239) == data.le64(160) {
                    found.uuid = uuid(data.part(247, 16));
                    found.parent = uuid(data.part(263, 16));
                    found.made = data.le64(303);
                }
            }
            BACK_REFERENCE => {
                if let Some(found) = self.all.get_mut(&object) {
                    let name = data.part(18, usize::from(data.le16(16)));
                    found.place = Some((offset, data.le64(0), name.to_owned()));
                }
            }
            _ => {}
        }
    }

    /// All of them, by number: the top first.
    pub fn all(&self) -> impl Iterator<Item = &Subvolume> {
        self.all.values()
    }

    /// The number of the default one.
    pub fn default_id(&self) -> u64 {
        let default = self.default.filter(|id| self.all.contains_key(id));
        default.unwrap_or(TOP)
    }

    /// The path from the top, without a slash in front: empty for the top itself. `directory` gives
    /// the path of a directory in a subvolume, with a slash at its end. `None` if it lies nowhere.
    pub fn path(
        &self,
        id: u64,
        directory: impl Fn(u64, u64) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let (mut path, mut id) = (Vec::new(), id);
        for _ in 0..MAX_DEPTH {
            if id == TOP {
                return Some(path);
            }
            let (parent, inode, name) = self.all.get(&id)?.place.as_ref()?;
            let above = match *inode {
                FIRST => Vec::new(),
                inode => directory(*parent, inode)?,
            };
            let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
            path = [&above, &name[..], slash, &path].concat();
            id = *parent;
        }
        None
    }

    /// The subvolumes that `id` lies in, the top excluded.
    pub fn above(&self, id: u64) -> Vec<u64> {
        let place = |id: &u64| Some(self.all.get(id)?.place.as_ref()?.0);
        let above = std::iter::successors(place(&id), place).take(MAX_DEPTH);
        above.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(object: u64, kind: u32, offset: u64, data: &[u8]) -> Vec<u8> {
        let mut item = vec![0; 8];
        item.extend(object.to_le_bytes());
        item.extend(offset.to_le_bytes());
        item.extend(kind.to_le_bytes());
        item.extend((data.len() as u32).to_le_bytes());
        item.extend(data);
        item
    }

    fn root(uuid: u8, parent: u8, flags: u64) -> Vec<u8> {
        let mut data = vec![0; 439];
        data[208..216].copy_from_slice(&flags.to_le_bytes());
        data[216] = 1;
        data[247..263].fill(uuid);
        data[263..279].fill(parent);
        data
    }

    fn reference(inode: u64, name: &str) -> Vec<u8> {
        let mut data = inode.to_le_bytes().to_vec();
        data.extend([0; 8]);
        data.extend((name.len() as u16).to_le_bytes());
        data.extend(name.as_bytes());
        data
    }

    #[test]
    fn subvolumes_have_a_place_a_parent_and_flags() {
        let default = {
            let mut data = 257_u64.to_le_bytes().to_vec();
            data.resize(27, 0);
            data.extend([7, 0, 2]);
            data.extend(b"default");
            data
        };
        let items = [
            item(5, ROOT_ITEM, 0, &root(1, 0, 0)),
            item(6, DIRECTORY_ITEM, 77, &default),
            item(256, ROOT_ITEM, 0, &root(2, 0, 0)),
            item(256, BACK_REFERENCE, 5, &reference(256, "@")),
            item(257, ROOT_ITEM, 0, &root(3, 2, 1)),
            item(257, BACK_REFERENCE, 256, &reference(300, "snapshot")),
            item(258, ROOT_ITEM, 0, &[0; 439]),
            item(u64::MAX - 8, ROOT_ITEM, 0, &root(9, 0, 0)),
        ];
        let mut found = Subvolumes::default();
        assert_eq!(found.read(2, &items[..2].concat()), Some((6, 84, 78)));
        assert_eq!(found.read(6, &items[2..].concat()), None);
        let ids: Vec<_> = found.all().map(|one| one.id).collect();
        assert_eq!((ids, found.default_id()), (vec![5, 256, 257], 257));
        let snapshot = &found.all[&257];
        assert!(snapshot.read_only && snapshot.parent == found.all[&256].uuid);
        let directory =
            |tree, inode| (tree == 256 && inode == 300).then(|| b".snapshots/1/".to_vec());
        let path = |id| {
            found
                .path(id, directory)
                .map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(path(257).as_deref(), Some("@/.snapshots/1/snapshot"));
        assert_eq!(path(5).as_deref(), Some(""));
        assert_eq!(path(999), None);
        assert_eq!(found.above(257), [256, 5]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(
            items in 0..20_usize,
            parts in prop::collection::vec(
                (0..300_u64, prop::sample::select(vec![84_u32, 132, 144]), prop::collection::vec(any::<u8>(), 0..450)),
                0..6,
            ),
            cut in 0..2000_usize,
        ) {
            let mut bytes: Vec<u8> = parts.iter().flat_map(|(id, kind, data)| item(*id, *kind, *id, data)).collect();
            bytes.truncate(cut);
            let mut found = Subvolumes::default();
            found.read(items, &bytes);
            for id in 0..300 {
                found.path(id, |_, _| Some(vec![b'/']));
                found.above(id);
            }
        }
    }
}
