//! A tar stream into the guest. Links that are there are followed within the root and never out
//! of it; `..` in a member's name is refused.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, makedev, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use super::pack::summary;
use super::process::errno_of;
use super::resolve::Root;
use crate::archive::{Kind, Member, Reader};
use crate::guest::wire::{At, ByteString, Stat, Step, TarOptions, Trouble};

/// What a new directory may be until its own mode is set, in the end.
const WRITABLE: Mode = Mode::S_IRWXU;

/// Unpacks the stream below `at`. Gives the number of members.
///
/// # Errors
/// The directory is not there, or the stream is malformed. A member that cannot be made is left
/// out, the rest is made, and then the first such trouble is the error.
pub fn unpack(
    at: &At,
    options: &TarOptions,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, Trouble> {
    let root = Root::open(at.root.as_path())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    root.look_up(at.path.as_path(), flags, Mode::empty())
        .map_err(|errno| Trouble::of(Step::File, at.path.as_path().display(), errno as i32))?;
    opened(None);
    let mut unpacker = Unpacker {
        root,
        base: at.path.as_path().to_owned(),
        owners: options.owners,
        parent: None,
        directories: Vec::new(),
    };
    let mut reader = Reader::new(data);
    let broken = |error: crate::archive::ArchiveError| Trouble::new(Step::Tar, error.to_string());
    let (mut count, mut troubles, mut first) = (0, 0, None);
    let mut note = |member: &Member, errno: Errno| {
        let name = ByteString(member.path.clone());
        troubles += 1;
        let trouble = Trouble::of(Step::File, name.as_path().display(), errno as i32);
        first.get_or_insert(trouble);
    };
    while let Some(member) = reader.next().map_err(broken)? {
        count += 1;
        match unpacker.make(&member, &mut reader) {
            Ok(()) => {}
            Err(Failed::Member(errno)) => note(&member, errno),
            Err(Failed::Stream(error)) => return Err(broken(error)),
        }
    }
    for (member, place) in std::mem::take(&mut unpacker.directories).iter().rev() {
        if let Err(errno) = unpacker.finish_directory(member, place) {
            note(member, errno);
        }
    }
    // Writers fill the stream behind its end.
    io::copy(&mut { data }.take(1 << 20), &mut io::sink())
        .map_err(|error| Trouble::of(Step::Process, "the pipe", errno_of(&error) as i32))?;
    match first {
        None => Ok(count),
        Some(first) => Err(summary(first, troubles)),
    }
}

enum Failed {
    Member(Errno),
    Stream(crate::archive::ArchiveError),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Member(errno)
    }
}

struct Unpacker {
    root: Root,
    base: PathBuf,
    owners: bool,
    /// The directory that was written to last, by its path below the base.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What gets its mode and time in the end, when nothing is put into it any more.
    directories: Vec<(Member, PathBuf)>,
}

impl Unpacker {
    fn make(&mut self, member: &Member, reader: &mut Reader<&File>) -> Result<(), Failed> {
        let path = relative(&member.path)?;
        let Some(name) = path.file_name() else {
            // The top itself.
            self.directories.push((member.clone(), path));
            return Ok(());
        };
        let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let above = path.parent().map(PathBuf::from).unwrap_or_default();
        self.enter(above)?;
        let Some((_, parent)) = &self.parent else {
            return Err(Errno::ENOENT.into());
        };
        if member.kind == Kind::Directory {
            self.directory(&path, &name)?;
            self.directories.push((member.clone(), path));
            return Ok(());
        }
        // Never through what is there, which may be a link or another name of a file.
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let name = name.as_c_str();
        let device = makedev(member.device.0.into(), member.device.1.into());
        let node = |kind, device| mknodat(parent, name, kind, Mode::S_IRUSR, device);
        match member.kind {
            Kind::File => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let file = openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
                fill(&file.into(), member, reader)?;
            }
            Kind::HardLink => {
                let target = relative(&member.target)?;
                let last = target.file_name().ok_or(Errno::EINVAL)?;
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
                let above = self.base.join(target.parent().unwrap_or(&target));
                let above = self.root.look_up(&above, flags, Mode::empty())?;
                linkat(&above, last, parent, name, AtFlags::empty())?;
                return Ok(());
            }
            Kind::Link => {
                let target = CString::new(member.target.clone()).map_err(|_| Errno::EINVAL)?;
                symlinkat(target.as_c_str(), parent, name)?;
            }
            Kind::Character => node(SFlag::S_IFCHR, device)?,
            Kind::Block => node(SFlag::S_IFBLK, device)?,
            Kind::Fifo => node(SFlag::S_IFIFO, 0)?,
            Kind::Directory => {}
        }
        self.properties(member, parent, name)
    }

    /// Opens the directory above a member, and makes what is missing of it.
    fn enter(&mut self, above: PathBuf) -> Result<(), Errno> {
        if self.parent.as_ref().is_some_and(|(path, _)| *path == above) {
            return Ok(());
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let look = |path: &PathBuf| self.root.look_up(path, flags, Mode::empty());
        let directory = match look(&self.base.join(&above)) {
            Err(Errno::ENOENT) => {
                let mut path = self.base.clone();
                let mut directory = look(&path)?;
                for name in above.components() {
                    path.push(name);
                    directory = match look(&path) {
                        Err(Errno::ENOENT) => {
                            let name = name.as_os_str();
                            mkdirat(&directory, name, Mode::from_bits_truncate(0o755))?;
                            look(&path)?
                        }
                        result => result?,
                    };
                }
                directory
            }
            result => result?,
        };
        self.parent = Some((above, directory));
        Ok(())
    }

    /// Makes a directory; one that is there stays, also behind a link that is there.
    fn directory(&self, path: &PathBuf, name: &CString) -> Result<(), Errno> {
        let Some((_, parent)) = &self.parent else {
            return Err(Errno::ENOENT);
        };
        match mkdirat(parent, name.as_c_str(), WRITABLE) {
            Err(Errno::EEXIST) => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
                let there = self
                    .root
                    .look_up(&self.base.join(path), flags, Mode::empty());
                if there.is_ok() {
                    return Ok(());
                }
                unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
                mkdirat(parent, name.as_c_str(), WRITABLE)
            }
            result => result,
        }
    }

    fn finish_directory(&self, member: &Member, path: &PathBuf) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let place = self.base.join(path);
        let directory = self.root.look_up(&place, flags, Mode::empty())?;
        if self.owners {
            let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
            nix::unistd::fchown(&directory, Some(uid), Some(gid))?;
        }
        nix::unistd::fchdir(&directory)?;
        set_attributes(c".", member)?;
        fchmod(&directory, Mode::from_bits_truncate(member.mode))?;
        futimens(&directory, &TimeSpec::UTIME_OMIT, &time(member))
    }

    /// Owner, attributes, mode and time, in the order in which one does not undo another.
    fn properties(
        &self,
        member: &Member,
        parent: &OwnedFd,
        name: &std::ffi::CStr,
    ) -> Result<(), Failed> {
        if self.owners {
            let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
            let stay = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(parent, name, Some(uid), Some(gid), stay)?;
        }
        nix::unistd::fchdir(parent)?;
        set_attributes(name, member)?;
        if member.kind != Kind::Link {
            // What was just made is no link.
            let mode = Mode::from_bits_truncate(member.mode);
            fchmodat(AT_FDCWD, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        let stay = UtimensatFlags::NoFollowSymlink;
        utimensat(parent, name, &TimeSpec::UTIME_OMIT, &time(member), stay)?;
        Ok(())
    }
}

/// A member's name below the base: `/` and `.` mean nothing, `..` is refused.
fn relative(path: &[u8]) -> Result<PathBuf, Errno> {
    let mut found = PathBuf::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Errno::EXDEV),
            part => found.push(ByteString(part.to_owned()).as_path()),
        }
    }
    Ok(found)
}

fn time(member: &Member) -> TimeSpec {
    TimeSpec::new(member.modified.0, i64::from(member.modified.1))
}

/// Sets attributes of a name in the working directory.
fn set_attributes(name: &std::ffi::CStr, member: &Member) -> Result<(), Errno> {
    for (key, value) in &member.attributes {
        let key = CString::new(key.clone()).map_err(|_| Errno::EINVAL)?;
        crate::sys::set_attribute(name, &key, value).map_err(|error| errno_of(&error))?;
    }
    Ok(())
}

/// Writes a file's data at its places, and leaves its holes.
fn fill(file: &File, member: &Member, reader: &mut Reader<&File>) -> Result<(), Failed> {
    let whole = [(0, member.size)];
    let segments = member.segments.as_deref().unwrap_or(&whole);
    let mut buffer = vec![0; 64 << 10];
    for &(offset, length) in segments {
        let mut done = 0;
        while done < length {
            let most = usize::try_from(length - done).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let read = reader.read(&mut buffer[..most]).map_err(Failed::Stream)?;
            file.write_all_at(&buffer[..read], offset + done)
                .map_err(|error| errno_of(&error))?;
            done += read as u64;
        }
    }
    if member.segments.is_some() {
        file.set_len(member.size)
            .map_err(|error| errno_of(&error))?;
    }
    Ok(())
}
