//! What the kernel is told of a [`Tree`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
};

use super::listing::{MAX_NAME, joined};
use super::nodes::{Known, Node, kind};
use super::tree::{Directory, Tree};

/// How long the kernel may believe what it was told: an image does not change.
const FOREVER: Duration = Duration::from_secs(1 << 24);

/// The offset of a directory's first entry after `.` and `..`.
const FIRST: u64 = 2;

pub(super) async fn entry(tree: &Tree, parent: INodeNo, name: &[u8], reply: ReplyEntry) {
    match tree.find(parent, name).await {
        Ok((path, facts)) => {
            let mut nodes = tree.nodes.borrow_mut();
            nodes.tell(path, &facts);
            reply.entry(&FOREVER, &nodes.attributes(&facts.stat), Generation(0));
        }
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn attr(tree: &Tree, number: INodeNo, reply: ReplyAttr) {
    match tree.known_node(number) {
        Ok(node) => reply.attr(&FOREVER, &node.attr),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn link(tree: &Tree, number: INodeNo, reply: ReplyData) {
    let node = tree.known_node(number);
    match node.and_then(|node| node.link.ok_or(Errno::EINVAL)) {
        Ok(link) => reply.data(&link),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn opened(handle: Result<u64, Errno>, is_directory: bool, reply: ReplyOpen) {
    let mut flags = FopenFlags::FOPEN_KEEP_CACHE;
    flags |= match is_directory {
        true => FopenFlags::FOPEN_CACHE_DIR,
        false => FopenFlags::FOPEN_NOFLUSH,
    };
    match handle {
        Ok(handle) => reply.opened(FileHandle(handle), flags),
        Err(errno) => reply.error(errno),
    }
}

/// The entries from `offset` on, each with the offset of the next.
fn entries(directory: &Directory, offset: u64) -> impl Iterator<Item = (u64, &[u8], &Known)> {
    let skipped = usize::try_from(offset.saturating_sub(FIRST)).unwrap_or(usize::MAX);
    let all = directory.listing.entries.iter().zip(FIRST + 1..);
    let rest = all.skip(skipped);
    rest.map(|((name, known), next)| (next, &name[..], known))
}

/// `.` and `..`, from `offset` on.
fn dots(directory: &Directory, offset: u64) -> impl Iterator<Item = (u64, &'static str, INodeNo)> {
    let dots = [(1, ".", directory.number), (2, "..", INodeNo::ROOT)];
    dots.into_iter().skip(offset.min(FIRST) as usize)
}

fn opened_directory(tree: &Tree, handle: FileHandle) -> Result<(Node, Rc<Directory>), Errno> {
    let directory = tree.directory(handle.0)?;
    Ok((tree.node(directory.number)?, directory))
}

pub(super) fn directory(tree: &Tree, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
    let (own, directory) = match opened_directory(tree, handle) {
        Ok(found) => found,
        Err(errno) => return reply.error(errno),
    };
    for (next, name, number) in dots(&directory, offset) {
        if reply.add(number, next, fuser::FileType::Directory, name) {
            return reply.ok();
        }
    }
    let nodes = tree.nodes.borrow();
    for (next, name, known) in entries(&directory, offset) {
        let number = nodes.entry(known, own.device).0.ino;
        if reply.add(number, next, kind(known.kind()), OsStr::from_bytes(name)) {
            break;
        }
    }
    reply.ok();
}

pub(super) fn directory_plus(
    tree: &Tree,
    handle: FileHandle,
    offset: u64,
    mut reply: ReplyDirectoryPlus,
) {
    let (own, directory) = match opened_directory(tree, handle) {
        Ok(found) => found,
        Err(errno) => return reply.error(errno),
    };
    for (next, name, number) in dots(&directory, offset) {
        // The kernel takes no more of these two than their numbers.
        let attr = fuser::FileAttr {
            ino: number,
            ..own.attr
        };
        if reply.add(number, next, name, &FOREVER, &attr, Generation(0)) {
            return reply.ok();
        }
    }
    let mut nodes = tree.nodes.borrow_mut();
    for (next, name, known) in entries(&directory, offset) {
        let (attr, is_named) = nodes.entry(known, own.device);
        // Of a name alone, the kernel asks again before it uses it.
        let valid = if is_named { &Duration::ZERO } else { &FOREVER };
        let shown = OsStr::from_bytes(name);
        if reply.add(attr.ino, next, shown, valid, &attr, Generation(0)) {
            break;
        }
        nodes.tell_entry(joined(&directory.path, name), known, own.device);
    }
    reply.ok();
}

pub(super) async fn filesystem(tree: &Tree, number: INodeNo, reply: ReplyStatfs) {
    match tree.filesystem(number).await {
        Ok(told) => {
            let size = u32::try_from(told.block_size).unwrap_or(4096);
            let (blocks, free, available) = (told.blocks, told.free, told.available);
            let (files, left, name) = (told.inodes, told.inodes_free, MAX_NAME as u32);
            reply.statfs(blocks, free, available, files, left, size, name, size);
        }
        Err(errno) => reply.error(errno),
    }
}

pub(super) async fn attribute(
    tree: &Tree,
    number: INodeNo,
    name: &[u8],
    size: u32,
    reply: ReplyXattr,
) {
    let found = tree.attributes(number).await.and_then(|all| {
        let found = all.iter().find(|(known, _)| known.0 == name);
        let value = found.map(|(_, value)| value.0.clone());
        value.ok_or(Errno::ENODATA)
    });
    sized(found, size, reply);
}

pub(super) async fn attribute_names(tree: &Tree, number: INodeNo, size: u32, reply: ReplyXattr) {
    let names = tree.attributes(number).await.map(|all| {
        let names = all.iter().map(|(name, _)| [&name.0[..], b"\0"].concat());
        names.collect::<Vec<_>>().concat()
    });
    sized(names, size, reply);
}

/// Replies with a value, or its size if that is asked for, by 0.
fn sized(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}
