//! The files that the kernel knows, by their inode numbers.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::protocol::{Attributes, FileKind, Stat};

/// What is preferred for one read, in bytes.
const BLOCK: u32 = 128 << 10;

/// A file of the image.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Below the root of the image, with a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    pub attr: FileAttr,
    /// The target of a symbolic link.
    pub link: Option<Vec<u8>>,
    /// If they came with the entry.
    pub attributes: Option<Rc<Attributes>>,
    /// The number of its filesystem.
    pub device: u64,
    /// Nothing is known but its name, kind and number.
    pub is_named: bool,
    /// How many references the kernel has.
    references: u64,
}

/// What is known of a file.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub stat: Stat,
    pub link: Option<Vec<u8>>,
    pub attributes: Option<Rc<Attributes>>,
}

/// What is known of an entry of a directory.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// What the directory tells: enough for programs that look for names.
    Name {
        kind: FileKind,
        inode: u64,
    },
    Facts(Facts),
}

impl Known {
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Name { kind, .. } => *kind,
            Self::Facts(facts) => facts.stat.kind,
        }
    }

    pub fn inode(&self) -> u64 {
        match self {
            Self::Name { inode, .. } => *inode,
            Self::Facts(facts) => facts.stat.inode,
        }
    }

    /// All but what its directory tells.
    pub fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Name { .. } => None,
            Self::Facts(facts) => Some(facts),
        }
    }
}

/// What takes the place of facts where there is no more than a name.
fn facts_of_name(kind: FileKind, inode: u64, device: u64) -> Facts {
    let stat = Stat {
        kind,
        links: 1,
        // A kernel may cut the target of a link at its size.
        size: if kind == FileKind::Link { 4095 } else { 0 },
        device,
        inode,
        ..Stat::default()
    };
    Facts {
        stat,
        link: None,
        attributes: None,
    }
}

/// The nodes that the kernel has references to.
#[derive(Debug)]
pub(super) struct Nodes {
    by_number: HashMap<u64, Node>,
    /// The number of the root's filesystem.
    device: u64,
    root: u64,
}

impl Nodes {
    pub fn new(root: Stat) -> Self {
        let mut nodes = Self {
            by_number: HashMap::new(),
            device: root.device,
            root: root.inode,
        };
        let facts = Facts {
            stat: root,
            link: None,
            attributes: None,
        };
        nodes.tell(Vec::new(), &facts);
        nodes
    }

    pub fn get(&self, number: INodeNo) -> Option<&Node> {
        self.by_number.get(&number.0)
    }

    /// The attributes of a file, as the kernel has them.
    pub fn attributes(&self, stat: &Stat) -> FileAttr {
        attributes(self.number(stat.device, stat.inode), stat)
    }

    /// The image's own number for files on the filesystem of the root, which is 1. All names of a file have
    /// the same.
    fn number(&self, device: u64, inode: u64) -> u64 {
        match (device == self.device, inode) {
            (true, inode) if inode == self.root => INodeNo::ROOT.0,
            (true, inode @ 2..) if inode >> 48 == 0 => inode,
            (_, inode) => mixed(device, inode),
        }
    }

    /// The attributes of an entry of a directory on `device`, and whether they are nothing but its kind and number.
    pub fn entry(&self, known: &Known, device: u64) -> (FileAttr, bool) {
        match known {
            Known::Facts(facts) => (self.attributes(&facts.stat), false),
            // The kernel would take what it is told for the attributes of all names of the file.
            Known::Name { kind, inode } => {
                let node = self.by_number.get(&self.number(device, *inode));
                match node.filter(|node| !node.is_named) {
                    Some(node) => (node.attr, false),
                    None => {
                        let facts = facts_of_name(*kind, *inode, device);
                        (self.attributes(&facts.stat), true)
                    }
                }
            }
        }
    }

    /// The kernel was told of an entry, as [`Nodes::entry`] has it.
    pub fn tell_entry(&mut self, path: Vec<u8>, known: &Known, device: u64) {
        match known {
            Known::Facts(facts) => self.tell(path, facts),
            Known::Name { kind, inode } => {
                self.refer(path, &facts_of_name(*kind, *inode, device), true);
            }
        }
    }

    /// The kernel was told of a file, which has one more reference now.
    pub fn tell(&mut self, path: Vec<u8>, facts: &Facts) {
        self.refer(path, facts, false);
    }

    fn refer(&mut self, path: Vec<u8>, facts: &Facts, is_named: bool) {
        let attr = self.attributes(&facts.stat);
        match self.by_number.get_mut(&attr.ino.0) {
            Some(node) if is_named || !node.is_named => node.references += 1,
            named => {
                let references = named.map_or(0, |node| node.references) + 1;
                let node = Node {
                    path,
                    attr,
                    link: facts.link.clone(),
                    attributes: facts.attributes.clone(),
                    device: facts.stat.device,
                    is_named,
                    references,
                };
                self.by_number.insert(attr.ino.0, node);
            }
        }
    }

    pub fn forget(&mut self, number: INodeNo, count: u64) {
        let Some(node) = self.by_number.get_mut(&number.0) else {
            return;
        };
        node.references = node.references.saturating_sub(count);
        if node.references == 0 && number != INodeNo::ROOT {
            self.by_number.remove(&number.0);
        }
    }
}

/// A number for a file of another filesystem, above those of the root's (the finaliser of SplitMix64).
fn mixed(device: u64, inode: u64) -> u64 {
    let mut mixed = inode ^ device.rotate_left(40);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb_u64] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31) | 1 << 63
}

fn attributes(number: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: stat.size,
        blocks: stat.blocks,
        atime: time(stat.accessed),
        mtime: time(stat.modified),
        ctime: time(stat.changed),
        crtime: UNIX_EPOCH,
        kind: kind(stat.kind),
        perm: (stat.mode & 0o7777) as u16,
        nlink: u32::try_from(stat.links).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.special.map_or(0, device_number),
        blksize: BLOCK,
        flags: 0,
    }
}

pub(super) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Link => FileType::Symlink,
        FileKind::Block => FileType::BlockDevice,
        FileKind::Character => FileType::CharDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::File | FileKind::Other => FileType::RegularFile,
    }
}

/// As the kernel's `new_encode_dev` has it.
fn device_number((major, minor): (u64, u64)) -> u32 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u32
}

fn time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let exact = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanoseconds.into())));
    exact.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(device: u64, inode: u64) -> Stat {
        Stat {
            kind: FileKind::File,
            mode: 0o4755,
            links: 2,
            uid: 0,
            gid: 0,
            size: 1,
            blocks: 8,
            modified: (-2, 500_000_000),
            accessed: (0, 0),
            changed: (0, 0),
            device,
            inode,
            special: Some((259, 0x12345)),
        }
    }

    #[test]
    fn files_have_the_numbers_that_the_image_gives_them_and_no_two_the_same() {
        let nodes = Nodes::new(stat(7, 256));
        let number = |device, inode| nodes.attributes(&stat(device, inode)).ino.0;
        assert_eq!(number(7, 256), 1, "the root");
        assert_eq!(number(7, 12), 12);
        let others = [(7, 1), (7, 0), (8, 256), (8, 12), (9, 12), (7, 1 << 50)];
        let mut numbers: Vec<_> = others.iter().map(|(d, i)| number(*d, *i)).collect();
        assert!(numbers.iter().all(|number| number >> 63 == 1));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), others.len());
    }

    #[test]
    fn times_before_1970_and_large_device_numbers_are_as_the_kernel_has_them() {
        let attr = Nodes::new(stat(7, 2)).attributes(&stat(7, 3));
        let before = UNIX_EPOCH.duration_since(attr.mtime).unwrap();
        assert_eq!(before, Duration::from_millis(1500));
        let device = u64::from(attr.rdev);
        assert_eq!(nix::sys::stat::makedev(259, 0x12345), device_of(device));
        assert_eq!(attr.perm, 0o4755);
    }

    /// What the kernel makes of it for stat(2).
    fn device_of(encoded: u64) -> u64 {
        let (major, minor) = (
            (encoded & 0xfff00) >> 8,
            encoded & 0xff | encoded >> 12 & 0xfff00,
        );
        nix::sys::stat::makedev(major, minor)
    }

    #[test]
    fn a_name_never_replaces_what_is_known_and_is_replaced_by_it() {
        let mut nodes = Nodes::new(stat(7, 2));
        let name = Known::Name {
            kind: FileKind::File,
            inode: 9,
        };
        let (attr, is_named) = nodes.entry(&name, 7);
        assert_eq!((attr.ino, attr.size, is_named), (INodeNo(9), 0, true));
        nodes.tell_entry(b"/name".to_vec(), &name, 7);
        assert!(nodes.get(INodeNo(9)).unwrap().is_named);
        let facts = Facts {
            stat: stat(7, 9),
            link: None,
            attributes: None,
        };
        nodes.tell(b"/facts".to_vec(), &facts);
        nodes.tell_entry(b"/name".to_vec(), &name, 7);
        let (attr, is_named) = nodes.entry(&name, 7);
        assert_eq!((attr.size, is_named), (1, false));
        // On another filesystem it is another file.
        assert!(nodes.entry(&name, 8).1);
        // All three were references.
        nodes.forget(INodeNo(9), 2);
        assert_eq!(nodes.get(INodeNo(9)).unwrap().path, b"/facts");
        nodes.forget(INodeNo(9), 1);
        assert!(nodes.get(INodeNo(9)).is_none());
    }

    #[test]
    fn a_node_is_known_until_the_kernel_has_forgotten_each_of_its_names() {
        let mut nodes = Nodes::new(stat(7, 2));
        let facts = Facts {
            stat: stat(7, 9),
            link: None,
            attributes: None,
        };
        nodes.tell(b"/a".to_vec(), &facts);
        nodes.tell(b"/b".to_vec(), &facts);
        nodes.forget(INodeNo(9), 1);
        assert_eq!(nodes.get(INodeNo(9)).unwrap().path, b"/a");
        nodes.forget(INodeNo(9), 1);
        assert!(nodes.get(INodeNo(9)).is_none());
        nodes.forget(INodeNo::ROOT, 5);
        assert!(nodes.get(INodeNo::ROOT).is_some());
    }
}
