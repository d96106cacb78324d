//! The files that the kernel knows, by numbers that this process gives out.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::protocol::{FileKind, Stat};

/// What is preferred for one read, in bytes.
const BLOCK: u32 = 128 << 10;

#[derive(Clone, Debug)]
pub struct Node {
    /// Below the root of the image, with a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    pub attr: FileAttr,
    /// The target of a symbolic link.
    pub link: Option<Vec<u8>>,
    key: Key,
    /// How many references the kernel has.
    references: u64,
}

/// By what a file is known again. Names of one file are one node, so that programs see the hard link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Path(Vec<u8>),
    /// Device and inode number in the guest.
    Inode(u64, u64),
}

impl Key {
    fn of(path: &[u8], stat: &Stat) -> Self {
        match stat.links > 1 && stat.kind != FileKind::Directory {
            true => Self::Inode(stat.device, stat.inode),
            false => Self::Path(path.to_vec()),
        }
    }
}

#[derive(Debug)]
pub struct Nodes {
    by_number: HashMap<u64, Node>,
    /// Those of hard links stay when the kernel forgets the node: their number is the same for all names.
    numbers: HashMap<Key, u64>,
    last: u64,
}

impl Nodes {
    pub fn new(root: &Stat) -> Self {
        let mut nodes = Self {
            by_number: HashMap::new(),
            numbers: HashMap::new(),
            last: INodeNo::ROOT.0 - 1,
        };
        nodes.add(Vec::new(), root, None);
        nodes
    }

    pub fn get(&self, number: INodeNo) -> Option<&Node> {
        self.by_number.get(&number.0)
    }

    /// The attributes of a file, as the kernel shall have them. Counts as no reference.
    pub fn add(&mut self, path: Vec<u8>, stat: &Stat, link: Option<Vec<u8>>) -> FileAttr {
        let key = Key::of(&path, stat);
        let number = *self.numbers.entry(key.clone()).or_insert_with(|| {
            self.last += 1;
            self.last
        });
        let node = self.by_number.entry(number).or_insert_with(|| Node {
            path,
            attr: attributes(number, stat),
            link,
            key,
            references: 0,
        });
        node.attr
    }

    /// The kernel was told of a file.
    pub fn reference(&mut self, number: INodeNo) {
        if let Some(node) = self.by_number.get_mut(&number.0) {
            node.references += 1;
        }
    }

    pub fn forget(&mut self, number: INodeNo, count: u64) {
        let Some(node) = self.by_number.get_mut(&number.0) else {
            return;
        };
        node.references = node.references.saturating_sub(count);
        if node.references == 0 && number != INodeNo::ROOT {
            self.drop_unused(number);
        }
    }

    /// Drops a node that was added and that the kernel was not told of.
    pub fn drop_unused(&mut self, number: INodeNo) {
        let is_unused = |node: &&Node| node.references == 0;
        let Some(node) = self.by_number.get(&number.0).filter(is_unused) else {
            return;
        };
        if matches!(node.key, Key::Path(_)) {
            self.numbers.remove(&node.key);
        }
        self.by_number.remove(&number.0);
    }
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

fn kind(kind: FileKind) -> FileType {
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

/// As the kernel's new_encode_dev has it.
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
