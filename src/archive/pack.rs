//! Files to a tar stream: with modes, times, attributes, hard links and holes.
//!
//! [`Packer`] goes by open directories and single names, so that a tree which changes meanwhile
//! leads nowhere else. A file that cannot be read is left out and counted. The agent packs what
//! its walk finds, the host a whole tree with [`pack`].

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, major, minor};

use super::attributes::{attributes, attributes_of};
use super::data::{data, segments};
use super::{ArchiveError, ArchiveStats, Failed, Kind, Member, begin, end, padding};
use crate::sys::errno_of;

/// How many files with several names are remembered; of more, each name becomes a file.
const MOST_LINKED: usize = 1_000_000;

/// A regular file that is open, and its content if that was read already.
#[derive(Clone, Copy)]
pub(crate) struct Opened<'a> {
    pub file: &'a File,
    pub stat: &'a FileStat,
    pub content: Option<&'a [u8]>,
}

pub(crate) struct Packer<W> {
    out: W,
    /// Which extended attributes are written, by name.
    takes: fn(&[u8]) -> bool,
    /// The first name of each file that has several, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    stats: ArchiveStats,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(out: W, takes: fn(&[u8]) -> bool) -> Self {
        Self {
            out,
            takes,
            linked: HashMap::new(),
            stats: ArchiveStats::default(),
        }
    }

    /// Writes the file `name` of `directory`, which may be open, as the member `path`, unless it is a socket. If
    /// it cannot be read, that is counted, with `shown` as its path. Fails only where the stream cannot be
    /// written.
    pub(crate) fn add(
        &mut self,
        (directory, name): (impl AsFd, &CStr),
        opened: Option<Opened>,
        path: Vec<u8>,
        shown: &Path,
    ) -> Result<(), ArchiveError> {
        match self.put(directory.as_fd(), name, opened, path) {
            Ok(()) => {}
            Err(Failed::Member(errno)) => self.note(shown, errno),
            Err(Failed::Stream(error)) => return Err(error),
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, shown: &Path, errno: Errno) {
        self.stats.note(shown.as_os_str().as_bytes(), errno);
    }

    pub(crate) fn finish(mut self) -> Result<ArchiveStats, ArchiveError> {
        end(&mut self.out)?;
        self.out.flush()?;
        Ok(self.stats)
    }

    fn put(
        &mut self,
        directory: impl AsFd,
        name: &CStr,
        opened: Option<Opened>,
        path: Vec<u8>,
    ) -> Result<(), Failed> {
        let stat = match &opened {
            Some(opened) => *opened.stat,
            None => fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?,
        };
        let Some(mut member) = member(path, &stat) else {
            return Ok(());
        };
        if member.kind == Kind::Link {
            member.target = readlinkat(&directory, name)?.as_bytes().to_owned();
        }
        if stat.st_nlink > 1 && member.kind != Kind::Directory && !self.is_first(&stat, &mut member)
        {
            return self.begin(&member);
        }
        let attributes = match &opened {
            Some(opened) => attributes_of(opened.file),
            None => attributes(&directory, name),
        };
        let attributes = attributes.map(|mut found| {
            found.retain(|(key, _)| (self.takes)(key));
            member.attributes = found;
        });
        match (member.kind, opened) {
            (Kind::File, Some(opened)) => self.file(opened, member)?,
            (Kind::File, None) => {
                let (file, stat) = &open(&directory, name)?;
                let content = None;
                self.file(
                    Opened {
                        file,
                        stat,
                        content,
                    },
                    member,
                )?
            }
            _ => self.begin(&member)?,
        }
        Ok(attributes?)
    }

    /// Whether it is the first name of its file. If not, the member becomes a link to that.
    fn is_first(&mut self, stat: &FileStat, member: &mut Member) -> bool {
        let id = (stat.st_dev, stat.st_ino);
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

    fn file(&mut self, opened: Opened, mut member: Member) -> Result<(), Failed> {
        let Opened {
            file,
            stat,
            content,
        } = opened;
        member.size = stat.st_size.max(0) as u64;
        if let Some(content) = content {
            self.begin(&member)?;
            let written = self.out.write_all(content);
            let written = written.and_then(|()| self.out.write_all(padding(member.size)));
            return Ok(written.map_err(ArchiveError::from)?);
        }
        if (stat.st_blocks.max(0) as u64) < member.size.div_ceil(512) {
            member.segments = segments(file, member.size);
        }
        self.begin(&member)?;
        let read = data(&mut self.out, file, &member).map_err(ArchiveError::from)?;
        // The rest of it is zeros.
        Ok(read.map_err(errno_of)?)
    }

    fn begin(&mut self, member: &Member) -> Result<(), Failed> {
        self.stats.members += 1;
        Ok(begin(&mut self.out, member)?)
    }
}

/// The properties of a file, but for its target, attributes and data; `None` for a socket, for
/// which tar has no type.
fn member(path: Vec<u8>, stat: &FileStat) -> Option<Member> {
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFLNK => Kind::Link,
        libc::S_IFBLK => Kind::Block,
        libc::S_IFCHR => Kind::Character,
        libc::S_IFIFO => Kind::Fifo,
        _ => return None,
    };
    let mut member = Member::new(path, kind);
    member.mode = stat.st_mode & 0o7777;
    (member.uid, member.gid) = (stat.st_uid, stat.st_gid);
    member.modified = (stat.st_mtime, stat.st_mtime_nsec as u32);
    if matches!(kind, Kind::Block | Kind::Character) {
        member.device = (major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32);
    }
    Some(member)
}

/// Opens a regular file without changing its access time, which only its owner may ask for.
pub(crate) fn open(directory: impl AsFd, name: &CStr) -> Result<(File, FileStat), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let flags = flags | OFlag::O_CLOEXEC;
    let opened = match openat(&directory, name, flags | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => openat(&directory, name, flags, Mode::empty()),
        opened => opened,
    };
    let file = File::from(opened?);
    let stat = fstat(&file)?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok((file, stat)),
        _ => Err(Errno::ESTALE),
    }
}

/// Writes the file or tree of this host at `source`, which is called `name` in the stream. A link
/// at `source` itself is followed, those below it are kept as links.
pub fn pack(source: &Path, name: &[u8], out: impl Write) -> Result<ArchiveStats, ArchiveError> {
    let mut packer = Packer::new(out, means_the_same_elsewhere);
    let mut waiting = vec![(fs::canonicalize(source)?, name.to_vec())];
    while let Some((path, name)) = waiting.pop() {
        match holder(&path) {
            Ok((directory, own)) => {
                packer.add((directory, &own), None, name.clone(), &path)?;
            }
            Err(error) => packer.note(&path, errno_of(&error)),
        }
        match names(&path) {
            Ok(names) => waiting.extend(names.into_iter().map(|entry| {
                let below = [&name[..], b"/", entry.as_bytes()].concat();
                (path.join(entry), below)
            })),
            Err(error) => packer.note(&path, errno_of(&error)),
        }
    }
    packer.finish()
}

/// The directory that holds `path`, and the name in it.
fn holder(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let name = path.file_name().map_or(&b"."[..], |name| name.as_bytes());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok((
        nix::fcntl::open(parent, flags, Mode::empty())?,
        CString::new(name)?,
    ))
}

/// The names in a directory, last first, because the last one is taken next; none if it is not a
/// directory.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
    let mut names = entries.collect::<io::Result<Vec<_>>>()?;
    names.sort_by(|one, other| other.cmp(one));
    Ok(names)
}

/// Labels of this host's security modules do not.
fn means_the_same_elsewhere(attribute: &[u8]) -> bool {
    attribute.starts_with(b"user.")
        || attribute.starts_with(b"system.posix_acl_")
        || attribute == b"security.capability"
}
