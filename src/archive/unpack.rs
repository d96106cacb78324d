//! A tar stream to files below a directory. The stream is untrusted: no member's name leads out
//! of the directory, links are never followed, and nothing is written through an existing file,
//! which may be a link or another name of a file.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, makedev,
    mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::attributes::set_attributes;
use super::data::BUFFER;
use super::dirs::{Deferred, Directories, MOST};
use super::target_dir::{PLACE, TargetDir, enter};
use super::{ArchiveError, ArchiveStats, BLOCK, Failed, Kind, Member, Reader};
use crate::linux::proc_fd::c_path;
use crate::sys::errno_of;

/// The mode of a new directory until it gets its own at the end.
const WRITABLE: Mode = Mode::S_IRWXU;

/// The mode of a new file until it is complete: other users must not see or run a part of it.
const UNFINISHED: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// How many names a member's path may have. The agent's walk goes 400 deep; a much longer path is
/// only made to keep us busy.
const DEEPEST: usize = 512;

/// How many bytes of a member's name are kept for a message.
const SHOWN: usize = 4096;

#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Owner and group, and access lists, which name users as well.
    pub owners: bool,
    /// What gives power or is more than data: set-id and sticky bits, devices, FIFOs, and
    /// attributes of the system's; and modes regardless of `umask`.
    pub privileges: bool,
    /// The bits that modes lose.
    pub umask: u32,
    /// How many bytes may be written, a block for each member included.
    pub max_bytes: Option<u64>,
    /// The one name that may be at the top: everything else is refused.
    pub only: Option<Vec<u8>>,
}

/// Creates the files of a stream. A member that cannot be created is left out and counted.
pub fn unpack<D: TargetDir, R: Read>(
    target: &D,
    policy: &Policy,
    stream: R,
) -> Result<ArchiveStats, ArchiveError> {
    let mut unpacker = Unpacker {
        target,
        policy,
        parent: None,
        directories: Directories::up_to(MOST),
        left: policy.max_bytes.unwrap_or(u64::MAX),
    };
    let mut reader = Reader::new(stream);
    let mut stats = ArchiveStats::default();
    while let Some(member) = reader.next()? {
        stats.members += 1;
        stats.bytes += unpacker.take(&member)?;
        match unpacker.create(&member, &mut reader) {
            Ok(()) => stats.note_link(&member),
            Err(Failed::Member(errno)) => {
                let shown = &member.path[..member.path.len().min(SHOWN)];
                stats.note(shown, errno);
            }
            Err(Failed::Stream(error)) => return Err(error),
        }
        let finished = unpacker.directories.too_many();
        unpacker.finish(finished, &mut stats);
    }
    let finished = unpacker.directories.all();
    unpacker.finish(finished, &mut stats);
    Ok(stats)
}

struct Unpacker<'a, D> {
    target: &'a D,
    policy: &'a Policy,
    /// The directory that was written to last, with its path.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// What gets its owner, mode and time at the end, when its files are complete.
    directories: Directories,
    /// How many more bytes may be written.
    left: u64,
}

impl<D: TargetDir> Unpacker<'_, D> {
    /// Takes what a member writes from what may be written, before it is created.
    fn take(&mut self, member: &Member) -> Result<u64, ArchiveError> {
        let bytes = member.data().saturating_add(BLOCK as u64);
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(ArchiveError::OverLimit)?;
        Ok(bytes)
    }

    fn create<R: Read>(&mut self, member: &Member, reader: &mut Reader<R>) -> Result<(), Failed> {
        let path = self.relative(&member.path)?;
        let Some(name) = path.file_name() else {
            return Ok(self.deferred(member, path)?);
        };
        let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let at = Location {
            parent: self.parent_of(&path)?,
            name,
        };
        match member.kind {
            Kind::Directory => {
                self.directory(&path, &at)?;
                self.deferred(member, path)?;
            }
            Kind::File => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let file = at.create_new(|parent, name| openat(parent, name, flags, UNFINISHED))?;
                let file = File::from(file);
                fill(&file, member, reader)?;
                self.properties_of_file(member, &file)?;
            }
            Kind::HardLink => {
                let target = self.relative(&member.target)?;
                let last = target.file_name().ok_or(Errno::EINVAL)?;
                let above = target.parent().unwrap_or(&target);
                let above = self.target.open(above, PLACE)?;
                let flags = AtFlags::empty();
                at.create_new(|parent, name| linkat(&above, last, parent, name, flags))?;
            }
            Kind::Link => {
                let target = CString::new(member.target.clone()).map_err(|_| Errno::EINVAL)?;
                at.create_new(|parent, name| symlinkat(&*target, parent, name))?;
                self.properties(member, SFlag::S_IFLNK, &at)?;
            }
            Kind::Character => self.node(member, SFlag::S_IFCHR, &at)?,
            Kind::Block => self.node(member, SFlag::S_IFBLK, &at)?,
            Kind::Fifo => self.node(member, SFlag::S_IFIFO, &at)?,
        }
        Ok(())
    }

    /// The directory that a path is in; it and those above it are created if missing.
    fn parent_of(&mut self, path: &Path) -> Result<Rc<OwnedFd>, Errno> {
        let above = path.parent().unwrap_or(Path::new(""));
        if let Some((last, parent)) = &self.parent
            && last == above
        {
            return Ok(parent.clone());
        }
        let parent = Rc::new(enter(self.target, above)?);
        self.parent = Some((above.to_owned(), parent.clone()));
        Ok(parent)
    }

    /// Creates a directory; an existing one stays, also one that an existing link leads to.
    fn directory(&self, path: &Path, at: &Location) -> Result<(), Errno> {
        let create = |parent: &OwnedFd, name: &CStr| mkdirat(parent, name, WRITABLE);
        match create(&at.parent, &at.name) {
            Err(Errno::EEXIST) if self.target.open(path, PLACE).is_ok() => Ok(()),
            Err(Errno::EEXIST) => at.create_new(create),
            result => result,
        }
    }

    fn node(&self, member: &Member, kind: SFlag, at: &Location) -> Result<(), Errno> {
        if !self.policy.privileges {
            return Err(Errno::EPERM);
        }
        let device = makedev(member.device.0.into(), member.device.1.into());
        at.create_new(|parent, name| mknodat(parent, name, kind, Mode::S_IRUSR, device))?;
        self.properties(member, kind, at)
    }

    /// Sets the attributes of a directory, and defers what it gets at the end.
    fn deferred(&mut self, member: &Member, path: PathBuf) -> Result<(), Errno> {
        let itself = self.target.open(&path, PLACE)?;
        let deferred = Deferred {
            owner: owner(member),
            mode: self.mode(member),
            modified: time(member),
        };
        self.directories.put(path, deferred);
        set_attributes(&itself, member, |key| self.takes(key))
    }

    fn finish(&self, directories: Vec<(PathBuf, Deferred)>, stats: &mut ArchiveStats) {
        for (path, deferred) in directories {
            if let Err(errno) = self.finish_directory(&path, &deferred) {
                stats.note(path.as_os_str().as_bytes(), errno);
            }
        }
    }

    fn finish_directory(&self, path: &Path, deferred: &Deferred) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = self.target.open(path, flags)?;
        if self.policy.owners {
            let (uid, gid) = deferred.owner;
            fchown(&directory, Some(uid), Some(gid))?;
        }
        fchmod(&directory, deferred.mode)?;
        futimens(&directory, &TimeSpec::UTIME_OMIT, &deferred.modified)
    }

    /// Sets owner, attributes, mode and time, in this order because each may undo a later one, of
    /// a new file that cannot be opened for writing. Another user may have replaced it
    /// meanwhile, so its kind is checked first.
    fn properties(&self, member: &Member, kind: SFlag, at: &Location) -> Result<(), Errno> {
        let Location { parent, name } = at;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let itself = openat(parent, &**name, flags, Mode::empty())?;
        if SFlag::from_bits_truncate(fstat(&itself)?.st_mode) & SFlag::S_IFMT != kind {
            return Err(Errno::ESTALE);
        }
        if self.policy.owners {
            let (uid, gid) = owner(member);
            fchownat(&itself, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        }
        let attributes = set_attributes(&itself, member, |key| self.takes(key));
        if member.kind != Kind::Link {
            // By its number: fchmod(2) takes no O_PATH descriptor.
            let follow = FchmodatFlags::FollowSymlink;
            fchmodat(AT_FDCWD, &*c_path(&itself), self.mode(member), follow)?;
        }
        let stay = UtimensatFlags::NoFollowSymlink;
        utimensat(parent, &**name, &TimeSpec::UTIME_OMIT, &time(member), stay)?;
        // On a file system without attributes, the rest is still set.
        attributes
    }

    /// The same for a file that is open. The mode comes after the attributes, because setting
    /// those needs write permission.
    fn properties_of_file(&self, member: &Member, file: &File) -> Result<(), Errno> {
        if self.policy.owners {
            let (uid, gid) = owner(member);
            fchown(file, Some(uid), Some(gid))?;
        }
        let attributes = set_attributes(file, member, |key| self.takes(key));
        fchmod(file, self.mode(member))?;
        futimens(file, &TimeSpec::UTIME_OMIT, &time(member))?;
        attributes
    }

    /// A member's name below the target: `/` and `.` mean nothing, `..` is refused.
    fn relative(&self, path: &[u8]) -> Result<PathBuf, Errno> {
        let mut parts = Vec::new();
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(Errno::EXDEV),
                part => parts.push(OsStr::from_bytes(part)),
            }
        }
        if parts.len() > DEEPEST {
            return Err(Errno::ENAMETOOLONG);
        }
        if let Some(only) = &self.policy.only
            && parts.first().map(|first| first.as_bytes()) != Some(only)
        {
            return Err(Errno::EXDEV);
        }
        Ok(parts.iter().collect())
    }

    fn mode(&self, member: &Member) -> Mode {
        let kept = match self.policy.privileges {
            true => 0o7777,
            false => 0o777 & !self.policy.umask,
        };
        Mode::from_bits_truncate(member.mode & kept)
    }

    fn takes(&self, key: &[u8]) -> bool {
        key.starts_with(b"user.")
            || self.policy.privileges
            || self.policy.owners && key.starts_with(b"system.posix_acl_")
    }
}

struct Location {
    parent: Rc<OwnedFd>,
    name: CString,
}

impl Location {
    /// Creates something there; what has the name is removed, unless it is a directory.
    fn create_new<T>(
        &self,
        create: impl Fn(&OwnedFd, &CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match create(&self.parent, &self.name) {
            Err(Errno::EEXIST) => {
                unlinkat(&self.parent, &*self.name, UnlinkatFlags::NoRemoveDir)?;
                create(&self.parent, &self.name)
            }
            result => result,
        }
    }
}

fn owner(member: &Member) -> (Uid, Gid) {
    (Uid::from_raw(member.uid), Gid::from_raw(member.gid))
}

fn time(member: &Member) -> TimeSpec {
    TimeSpec::new(member.modified.0, i64::from(member.modified.1))
}

/// Writes a file's data and leaves its holes.
fn fill<R: Read>(file: &File, member: &Member, reader: &mut Reader<R>) -> Result<(), Failed> {
    let whole = [(0, member.size)];
    let segments = member.segments.as_deref().unwrap_or(&whole);
    let room = usize::try_from(member.data()).unwrap_or(BUFFER);
    let mut buffer = vec![0; room.min(BUFFER)];
    for &(offset, length) in segments {
        let mut done = 0;
        while done < length {
            let most = usize::try_from(length - done).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let read = reader.read(&mut buffer[..most])?;
            file.write_all_at(&buffer[..read], offset + done)
                .map_err(errno_of)?;
            done += read as u64;
        }
    }
    if member.segments.is_some() {
        file.set_len(member.size).map_err(errno_of)?;
    }
    Ok(())
}
