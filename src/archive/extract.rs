//! Members to files below a directory. Whoever wrote the stream is a stranger: no member's name
//! leads out of the directory, links that are made are never followed, and nothing is written
//! through what is there, which may be a link or another name of a file.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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
use super::directories::{Directories, Last};
use super::place::{PLACE, Place, enter};
use super::{ArchiveError, Kind, Member, Reader};
use crate::linux::proc_fd::c_path;
use crate::sys::errno_of;

/// What a new directory may be until its own mode is set, in the end.
const WRITABLE: Mode = Mode::S_IRWXU;

/// What a new file may be until it is whole: nobody else is to see or to run a part of it.
const UNFINISHED: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// How many names a member's path may have. The agent walks 400 deep; what is much longer is only
/// made to keep us busy.
const DEEPEST: usize = 512;

/// As much of a member's name is kept to tell of it.
const TOLD: usize = 4096;

/// What of a member's properties is taken on.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Owner and group, and access lists, which name users as well.
    pub owners: bool,
    /// What gives power: set-id bits, devices, and attributes of the system's.
    pub privileges: bool,
    /// The one name that may stand at the top: everything else is refused.
    pub only: Option<Vec<u8>>,
}

/// What came of a stream that was read to its end.
#[derive(Debug, Default)]
pub struct Extracted {
    /// How many members it had.
    pub members: u64,
    /// How many of them could not be made, or not with all their properties.
    pub troubles: u64,
    /// The first of these: its name, and what the system said.
    pub first: Option<(Vec<u8>, Errno)>,
}

impl Extracted {
    fn note(&mut self, name: &[u8], errno: Errno) {
        self.troubles += 1;
        let told = &name[..name.len().min(TOLD)];
        self.first.get_or_insert_with(|| (told.to_vec(), errno));
    }
}

/// Makes what a stream holds. A member that cannot be made is left out, and noted.
///
/// # Errors
/// The stream is malformed.
pub fn extract<P: Place, R: Read>(
    place: &P,
    policy: &Policy,
    stream: R,
) -> Result<Extracted, ArchiveError> {
    let mut extractor = Extractor {
        place,
        policy,
        parent: None,
        directories: Directories::default(),
    };
    let mut reader = Reader::new(stream);
    let mut extracted = Extracted::default();
    while let Some(member) = reader.next()? {
        extracted.members += 1;
        match extractor.make(&member, &mut reader) {
            Ok(()) => {}
            Err(Failed::Member(errno)) => extracted.note(&member.path, errno),
            Err(Failed::Stream(error)) => return Err(error),
        }
        let finished = extractor.directories.too_many();
        extractor.finish(finished, &mut extracted);
    }
    let finished = extractor.directories.all();
    extractor.finish(finished, &mut extracted);
    Ok(extracted)
}

enum Failed {
    Member(Errno),
    Stream(ArchiveError),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Member(errno)
    }
}

struct Extractor<'a, P> {
    place: &'a P,
    policy: &'a Policy,
    /// The directory that was written to last, by its path.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What gets its owner, mode and time in the end, when nothing is put into it any more.
    directories: Directories,
}

impl<P: Place> Extractor<'_, P> {
    fn make<R: Read>(&mut self, member: &Member, reader: &mut Reader<R>) -> Result<(), Failed> {
        let path = self.relative(&member.path)?;
        let Some(name) = path.file_name() else {
            let top = self.place.open(&path, PLACE)?;
            return Ok(self.later(member, path, &top)?);
        };
        let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let above = path.parent().map(PathBuf::from).unwrap_or_default();
        if self.parent.as_ref().is_none_or(|(path, _)| *path != above) {
            let opened = enter(self.place, &above)?;
            self.parent = Some((above, opened));
        }
        let Some((_, parent)) = &self.parent else {
            return Err(Errno::ENOENT.into());
        };
        if member.kind == Kind::Directory {
            self.directory(&path, &name)?;
            let itself = self.place.open(&path, PLACE)?;
            return Ok(self.later(member, path, &itself)?);
        }
        let is_device = matches!(member.kind, Kind::Character | Kind::Block);
        if is_device && !self.policy.privileges {
            return Err(Errno::EPERM.into());
        }
        let name = name.as_c_str();
        let device = makedev(member.device.0.into(), member.device.1.into());
        let kind = match member.kind {
            Kind::File => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let make = || openat(parent, name, flags, UNFINISHED);
                let file: File = anew(parent, name, make)?.into();
                fill(&file, member, reader)?;
                return self.properties_of_file(member, &file);
            }
            Kind::HardLink => {
                let target = self.relative(&member.target)?;
                let last = target.file_name().ok_or(Errno::EINVAL)?;
                let above = self.place.open(target.parent().unwrap_or(&target), PLACE)?;
                let link = || linkat(&above, last, parent, name, AtFlags::empty());
                return Ok(anew(parent, name, link)?);
            }
            Kind::Link => {
                let target = CString::new(member.target.clone()).map_err(|_| Errno::EINVAL)?;
                anew(parent, name, || symlinkat(target.as_c_str(), parent, name))?;
                return self.properties(member, SFlag::S_IFLNK, parent, name);
            }
            Kind::Character => SFlag::S_IFCHR,
            Kind::Block => SFlag::S_IFBLK,
            // A directory was made above.
            Kind::Fifo | Kind::Directory => SFlag::S_IFIFO,
        };
        anew(parent, name, || {
            mknodat(parent, name, kind, Mode::S_IRUSR, device)
        })?;
        self.properties(member, kind, parent, name)
    }

    /// Makes a directory; one that is there stays, also behind a link that is there.
    fn directory(&self, path: &Path, name: &CString) -> Result<(), Errno> {
        let Some((_, parent)) = &self.parent else {
            return Err(Errno::ENOENT);
        };
        match mkdirat(parent, name.as_c_str(), WRITABLE) {
            Err(Errno::EEXIST) => {
                if self.place.open(path, PLACE).is_ok() {
                    return Ok(());
                }
                unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
                mkdirat(parent, name.as_c_str(), WRITABLE)
            }
            result => result,
        }
    }

    /// Notes what a directory gets in the end, and gives it the rest.
    fn later(&mut self, member: &Member, path: PathBuf, itself: &OwnedFd) -> Result<(), Errno> {
        let last = Last {
            owner: owner(member),
            mode: self.mode(member),
            modified: time(member),
        };
        self.directories.put(path, last);
        set_attributes(itself, member, |key| self.takes(key))
    }

    /// Gives directories what they get in the end.
    fn finish(&self, directories: Vec<(PathBuf, Last)>, extracted: &mut Extracted) {
        for (path, last) in directories {
            if let Err(errno) = self.finish_directory(&path, &last) {
                extracted.note(path.as_os_str().as_bytes(), errno);
            }
        }
    }

    fn finish_directory(&self, path: &Path, last: &Last) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = self.place.open(path, flags)?;
        if self.policy.owners {
            let (uid, gid) = last.owner;
            fchown(&directory, Some(uid), Some(gid))?;
        }
        fchmod(&directory, last.mode)?;
        futimens(&directory, &TimeSpec::UTIME_OMIT, &last.modified)
    }

    /// Owner, attributes, mode and time, in the order in which one does not undo another, of what
    /// was just made and cannot be opened for writing. Another user may have put something else
    /// in its place meanwhile, which must not get what this one was to get.
    fn properties(
        &self,
        member: &Member,
        kind: SFlag,
        parent: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Failed> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let itself = openat(parent, name, flags, Mode::empty())?;
        if SFlag::from_bits_truncate(fstat(&itself)?.st_mode) & SFlag::S_IFMT != kind {
            return Err(Errno::ESTALE.into());
        }
        if self.policy.owners {
            let (uid, gid) = owner(member);
            fchownat(&itself, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        }
        let attributes = set_attributes(&itself, member, |key| self.takes(key));
        if member.kind != Kind::Link {
            // By its number: fchmod(2) takes no descriptor that is a place only.
            let follow = FchmodatFlags::FollowSymlink;
            fchmodat(AT_FDCWD, &*c_path(&itself), self.mode(member), follow)?;
        }
        let stay = UtimensatFlags::NoFollowSymlink;
        utimensat(parent, name, &TimeSpec::UTIME_OMIT, &time(member), stay)?;
        // A file system without attributes is no reason to leave out the rest.
        Ok(attributes?)
    }

    /// The same for a file that is open. Its mode comes last but for its time: until then it may
    /// be written, which attributes of the user's need.
    fn properties_of_file(&self, member: &Member, file: &File) -> Result<(), Failed> {
        if self.policy.owners {
            let (uid, gid) = owner(member);
            fchown(file, Some(uid), Some(gid))?;
        }
        let attributes = set_attributes(file, member, |key| self.takes(key));
        fchmod(file, self.mode(member))?;
        futimens(file, &TimeSpec::UTIME_OMIT, &time(member))?;
        // As above.
        Ok(attributes?)
    }

    /// A member's name below the place: `/` and `.` mean nothing, `..` is refused.
    fn relative(&self, path: &[u8]) -> Result<PathBuf, Errno> {
        let mut found = PathBuf::new();
        let mut parts = Vec::new();
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(Errno::EXDEV),
                part => parts.push(part),
            }
        }
        if parts.len() > DEEPEST {
            return Err(Errno::ENAMETOOLONG);
        }
        if let Some(only) = &self.policy.only
            && parts.first() != Some(&only.as_slice())
        {
            return Err(Errno::EXDEV);
        }
        for part in parts {
            found.push(std::ffi::OsStr::from_bytes(part));
        }
        Ok(found)
    }

    fn mode(&self, member: &Member) -> Mode {
        let most = if self.policy.privileges {
            0o7777
        } else {
            0o1777
        };
        Mode::from_bits_truncate(member.mode & most)
    }

    /// Whether an attribute is taken on.
    fn takes(&self, key: &[u8]) -> bool {
        key.starts_with(b"user.")
            || self.policy.privileges
            || self.policy.owners && key.starts_with(b"system.posix_acl_")
    }
}

/// Makes something in the place of what has its name, if that is no directory.
fn anew<T>(parent: &OwnedFd, name: &CStr, make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match make() {
        Err(Errno::EEXIST) => {
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            make()
        }
        result => result,
    }
}

fn owner(member: &Member) -> (Uid, Gid) {
    (Uid::from_raw(member.uid), Gid::from_raw(member.gid))
}

fn time(member: &Member) -> TimeSpec {
    TimeSpec::new(member.modified.0, i64::from(member.modified.1))
}

/// Writes a file's data at its places, and leaves its holes.
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
