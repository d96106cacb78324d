//! A file or tree out of the guest as a tar stream, with its modes, times, attributes, links
//! and holes. Goes by open directories and single names, as the walk does.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::files;
use super::process::errno_of;
use super::resolve::open_at;
use super::walk::{self, DIRECTORY};
use crate::archive::{self, ArchiveError, Kind, Member};
use crate::guest::wire::{
    ByteString, Entry, ErrorStage, FileKind, PathAt, RemoteError, Stat, TarOptions,
};

/// How many files with several names are remembered; of more, each name becomes a file.
const MOST_LINKED: usize = 1_000_000;

/// Writes what is at `at`. Gives the number of members.
///
/// # Errors
/// It cannot be opened. What of a tree cannot be read is left out, the rest is written, and
/// then the first such error is the error.
pub fn pack(
    at: &PathAt,
    options: &TarOptions,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let path = at.path.as_path();
    let failed = |errno| RemoteError::of(ErrorStage::File, path.display(), errno as i32);
    let top = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let found = nix::sys::stat::fstat(&top).map_err(failed)?;
    let stat = files::from_system(&found);
    let own = path.file_name().map(|name| ByteString::from(name).0);
    let name = options.name.clone().map(|name| name.0);
    let name = name.or(own.clone()).unwrap_or_else(|| b".".to_vec());
    let mut packer = Packer {
        out: BufWriter::with_capacity(64 << 10, data),
        name,
        linked: HashMap::new(),
        count: 0,
        troubles: 0,
        first: None,
    };
    let is_directory = stat.kind == FileKind::Directory;
    let entry = Entry {
        path: ByteString::default(),
        link: nix::fcntl::readlinkat(&top, "").ok().map(Into::into),
        stat: Some(stat.clone()),
        error: None,
    };
    if is_directory {
        let directory = openat(&top, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
        opened(Some(stat));
        packer.put(&directory, c".", entry)?;
        let each = |directory: &OwnedFd, name: &CStr, entry| packer.put(directory, name, entry);
        walk::walk(directory, options.one_file_system, each)?;
    } else {
        let holder = PathAt {
            root: at.root.clone(),
            path: path.parent().unwrap_or(Path::new("/")).into(),
        };
        let directory = open_at(&holder, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let own = CString::new(own.unwrap_or_default()).map_err(|_| failed(Errno::EINVAL))?;
        opened(Some(stat));
        packer.put(&directory, &own, entry)?;
    }
    packer.finish()
}

struct Packer<'a> {
    out: BufWriter<&'a File>,
    /// The top's name in the stream.
    name: Vec<u8>,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    count: u64,
    troubles: u64,
    first: Option<RemoteError>,
}

impl Packer<'_> {
    fn put(&mut self, directory: &OwnedFd, name: &CStr, entry: Entry) -> Result<(), RemoteError> {
        if let Some(mut error) = entry.error {
            error.text = format!("{}: {}", entry.path, error.text);
            return self.note(error);
        }
        let Some(stat) = entry.stat else {
            return Ok(());
        };
        let mut path = self.name.clone();
        if !entry.path.0.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&entry.path.0);
        }
        let kind = match stat.kind {
            FileKind::File => Kind::File,
            FileKind::Directory => Kind::Directory,
            FileKind::Link => Kind::Link,
            FileKind::Block => Kind::Block,
            FileKind::Character => Kind::Character,
            FileKind::Fifo => Kind::Fifo,
            // A socket is only of use to who made it; tar has no letter for it.
            FileKind::Socket | FileKind::Other => return Ok(()),
        };
        let mut member = Member::new(path, kind);
        member.mode = stat.mode;
        (member.uid, member.gid) = (stat.uid, stat.gid);
        member.modified = stat.modified;
        member.target = entry.link.map_or_else(Vec::new, |link| link.0);
        let (major, minor) = stat.special.unwrap_or((0, 0));
        member.device = (major as u32, minor as u32);
        if stat.links > 1 && kind != Kind::Directory && !self.is_first(&stat, &mut member) {
            return self.begin(&member);
        }
        match archive::attributes(directory, name) {
            Ok(attributes) => member.attributes = attributes,
            Err(errno) => self.note(trouble_of(&member, errno))?,
        }
        if kind != Kind::File {
            return self.begin(&member);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let flags = flags | OFlag::O_CLOEXEC;
        // That we read it is nothing that the file need tell; whose it is not may not say so.
        let opened = match openat(directory, name, flags | OFlag::O_NOATIME, Mode::empty()) {
            Err(Errno::EPERM) => openat(directory, name, flags, Mode::empty()),
            result => result,
        };
        match opened {
            Ok(file) => self.file(file.into(), member),
            Err(errno) => self.note(trouble_of(&member, errno)),
        }
    }

    /// Whether it is the first name of its file. If not, the member becomes a link to that.
    fn is_first(&mut self, stat: &Stat, member: &mut Member) -> bool {
        let id = (stat.device, stat.inode);
        if let Some(first) = self.linked.get(&id) {
            member.kind = Kind::HardLink;
            member.target = first.clone();
            return false;
        }
        if self.linked.len() < MOST_LINKED {
            self.linked.insert(id, member.path.clone());
        }
        true
    }

    fn file(&mut self, file: File, mut member: Member) -> Result<(), RemoteError> {
        let found = match nix::sys::stat::fstat(&file) {
            Ok(found) => files::from_system(&found),
            Err(errno) => return self.note(trouble_of(&member, errno)),
        };
        if found.kind != FileKind::File {
            return self.note(trouble_of(&member, Errno::ESTALE));
        }
        member.size = found.size;
        if found.blocks < found.size.div_ceil(512) {
            member.segments = archive::segments(&file, found.size);
        }
        self.begin(&member)?;
        match archive::data(&mut self.out, &file, &member) {
            Ok(Ok(())) => Ok(()),
            // The rest of it is zeros.
            Ok(Err(error)) => self.note(trouble_of(&member, errno_of(&error))),
            Err(error) => Err(unwritten(&error)),
        }
    }

    fn begin(&mut self, member: &Member) -> Result<(), RemoteError> {
        self.count += 1;
        archive::begin(&mut self.out, member).map_err(|error| match error {
            ArchiveError::Io(error) => unwritten(&error),
            error => RemoteError::new(ErrorStage::Tar, error.to_string()),
        })
    }

    fn note(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        self.troubles += 1;
        self.first.get_or_insert(error);
        Ok(())
    }

    fn finish(mut self) -> Result<u64, RemoteError> {
        archive::end(&mut self.out)
            .map_err(|error| RemoteError::new(ErrorStage::Tar, error.to_string()))?;
        self.out.flush().map_err(|error| unwritten(&error))?;
        match self.first {
            None => Ok(self.count),
            Some(first) => Err(summary(first, self.troubles)),
        }
    }
}

/// The first error of several.
pub fn summary(mut first: RemoteError, troubles: u64) -> RemoteError {
    if troubles > 1 {
        first.text = format!("{} (and {} more)", first.text, troubles - 1);
    }
    first
}

fn trouble_of(member: &Member, errno: Errno) -> RemoteError {
    let name = ByteString(member.path.clone());
    RemoteError::of(ErrorStage::File, name.as_path().display(), errno as i32)
}

fn unwritten(error: &io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", errno_of(error) as i32)
}
