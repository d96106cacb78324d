//! A file or tree of this host's as a stream. It is the user's own: links below it are kept as
//! links, and what cannot be read is left out and told.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, major, minor};

use super::attributes::attributes;
use super::data::{data, segments};
use super::{ArchiveError, Kind, Member, begin, end};

/// What came of a tree.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many members were written.
    pub members: u64,
    /// How many files could not be read, or not to their end.
    pub troubles: u64,
    /// The first of these.
    pub first: Option<(PathBuf, io::Error)>,
}

/// Writes what is at `source`, which goes by `name` in the stream. A link at `source` itself is
/// followed, as the user's word for a file.
///
/// # Errors
/// It is not there, or what writing says.
pub fn collect(
    source: &Path,
    name: &[u8],
    out: &mut impl Write,
) -> Result<Collected, ArchiveError> {
    let top = fs::canonicalize(source)?;
    let mut collector = Collector {
        out,
        linked: HashMap::new(),
        collected: Collected::default(),
    };
    let mut waiting = vec![(top, name.to_vec())];
    while let Some((path, name)) = waiting.pop() {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) => {
                collector.note(&path, error);
                continue;
            }
        };
        if let Err(error) = collector.put(&path, &name, &found) {
            match error {
                Failed::Read(error) => collector.note(&path, error),
                Failed::Stream(error) => return Err(error),
            }
        }
        if found.is_dir() {
            match names(&path) {
                Ok(names) => waiting.extend(names.into_iter().map(|entry| {
                    let below = [&name[..], b"/", entry.as_bytes()].concat();
                    (path.join(entry), below)
                })),
                Err(error) => collector.note(&path, error),
            }
        }
    }
    end(collector.out)?;
    Ok(collector.collected)
}

/// Last first, because the last one is taken next.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
    }
    names.sort_by(|one, other| other.cmp(one));
    Ok(names)
}

enum Failed {
    Read(io::Error),
    Stream(ArchiveError),
}

struct Collector<'a, W> {
    out: &'a mut W,
    /// The first name of each file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    collected: Collected,
}

impl<W: Write> Collector<'_, W> {
    fn note(&mut self, path: &Path, error: io::Error) {
        self.collected.troubles += 1;
        let first = &mut self.collected.first;
        first.get_or_insert_with(|| (path.to_owned(), error));
    }

    fn put(&mut self, path: &Path, name: &[u8], found: &Metadata) -> Result<(), Failed> {
        let Some(kind) = kind_of(found) else {
            return Ok(());
        };
        let mut member = Member::new(name.to_vec(), kind);
        member.mode = found.mode() & 0o7777;
        (member.uid, member.gid) = (found.uid(), found.gid());
        member.modified = (found.mtime(), found.mtime_nsec() as u32);
        if matches!(kind, Kind::Block | Kind::Character) {
            let device = found.rdev();
            member.device = (major(device) as u32, minor(device) as u32);
        }
        if kind == Kind::Link {
            let target = fs::read_link(path).map_err(Failed::Read)?;
            member.target = target.into_os_string().into_vec();
        }
        if found.nlink() > 1 && kind != Kind::Directory {
            let id = (found.dev(), found.ino());
            if let Some(first) = self.linked.get(&id) {
                member.kind = Kind::HardLink;
                member.target = first.clone();
                return self.begin(&member);
            }
            self.linked.insert(id, member.path.clone());
        }
        let of_ours = attributes_of(path).map_err(Failed::Read)?;
        member.attributes = of_ours;
        if kind != Kind::File {
            return self.begin(&member);
        }
        let file = File::open(path).map_err(Failed::Read)?;
        member.size = file.metadata().map_err(Failed::Read)?.len();
        if found.blocks() < member.size.div_ceil(512) {
            member.segments = segments(&file, member.size);
        }
        self.begin(&member)?;
        let written = data(self.out, &file, &member);
        let written = written.map_err(|error| Failed::Stream(error.into()))?;
        written.map_err(Failed::Read)
    }

    fn begin(&mut self, member: &Member) -> Result<(), Failed> {
        self.collected.members += 1;
        begin(self.out, member).map_err(Failed::Stream)
    }
}

fn kind_of(found: &Metadata) -> Option<Kind> {
    let kind = found.file_type();
    Some(match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_symlink() => Kind::Link,
        () if kind.is_block_device() => Kind::Block,
        () if kind.is_char_device() => Kind::Character,
        () if kind.is_fifo() => Kind::Fifo,
        // A socket is only of use to who made it.
        () => return None,
    })
}

/// Those that mean the same elsewhere: labels of this host's security modules do not.
fn attributes_of(path: &Path) -> io::Result<super::Attributes> {
    let place = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let holder = path.parent().unwrap_or(Path::new("/"));
    let holder = nix::fcntl::open(holder, place, Mode::empty())?;
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let name = CString::new(name.as_bytes())?;
    let mut found = attributes(&holder, &name)?;
    found.retain(|(key, _)| {
        key.starts_with(b"user.")
            || key.starts_with(b"system.posix_acl_")
            || key == b"security.capability"
    });
    Ok(found)
}
