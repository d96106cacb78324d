//! What may take long, as a process of its own: it waits for disks, and the agent does not.
//! Its data goes over a pipe, and the status pipe has two lines: whether the stream opened, and
//! how it ended.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::{SFlag, fstat};

use super::process::{Status, errno_of};
use super::resolve::open_at;
use super::walk;
use super::{disks, files, pack, seed, unpack};
use crate::guest::wire::{
    ByteString, Entry, ErrorStage, Operation, PathAt, RemoteError, Response, Stat,
};

/// Does what `op` asks for, in a forked child. `data` is the pipe.
pub fn run(op: &Operation, data: &File, status: &Status) {
    // A group of its own, so that it can be ended; and it ends with the agent.
    let _ = nix::unistd::setsid();
    crate::sys::default_signals();
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let opened = |stat| status.tell(&Ok::<_, RemoteError>(Response::Opened { stat }));
    let verdict = match op {
        Operation::List { at, .. } => list(at, data, opened),
        Operation::Walk {
            at,
            one_file_system,
            ..
        } => tree(at, *one_file_system, data, opened),
        Operation::Read {
            at, offset, length, ..
        } => read(at, *offset, *length, data, opened),
        Operation::TarOut { at, options, .. } => pack::pack(at, options, data, opened),
        Operation::TarIn { at, options, .. } => unpack::unpack(at, options, data, opened),
        // These have no stream: their answer is all that they say.
        Operation::Survey { disks } => {
            return status.tell(&Ok::<_, RemoteError>(disks::jobs::survey(*disks)));
        }
        Operation::Warm => return status.tell(&Ok::<_, RemoteError>(disks::jobs::warm())),
        Operation::Mount {
            mounts,
            at,
            read_only,
            for_commands,
        } => {
            return status.tell(&disks::jobs::mount(
                mounts,
                at.as_path(),
                *read_only,
                *for_commands,
            ));
        }
        Operation::Seed { at, stage } => {
            let seeded = seed::seed(at.as_path(), *stage);
            return status.tell(&seeded.map(Response::Seeded));
        }
        _ => Err(RemoteError::new(ErrorStage::Request, "not a job")),
    };
    status.tell(&verdict);
}

fn list(at: &PathAt, data: &File, opened: impl FnOnce(Option<Stat>)) -> Result<u64, RemoteError> {
    let directory = open_at(at, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    opened(stat_of(&directory, at)?);
    let mut lines = Lines::new(data);
    walk::list(directory, |_, _, entry| lines.put(&entry))?;
    lines.finish()
}

fn tree(
    at: &PathAt,
    one_file_system: bool,
    data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let top = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = stat_of(&top, at)?;
    let mut lines = Lines::new(data);
    // The place itself; readlinkat(2) and fstatat(2) take an empty name for the descriptor.
    let link = nix::fcntl::readlinkat(&top, "").ok().map(Into::into);
    let is_directory =
        (stat.as_ref()).is_some_and(|stat| stat.kind == crate::guest::wire::FileKind::Directory);
    opened(stat.clone());
    lines.put(&Entry {
        path: ByteString::default(),
        stat,
        link,
        error: None,
    })?;
    if is_directory {
        let directory =
            nix::fcntl::openat(&top, ".", walk::DIRECTORY, nix::sys::stat::Mode::empty()).map_err(
                |errno| {
                    RemoteError::of(ErrorStage::File, at.path.as_path().display(), errno as i32)
                },
            )?;
        walk::walk(directory, one_file_system, |_, _, entry| lines.put(&entry))?;
    }
    lines.finish()
}

fn read(
    at: &PathAt,
    offset: u64,
    length: Option<u64>,
    mut data: &File,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let failed = |error: io::Error| {
        RemoteError::of(
            ErrorStage::File,
            at.path.as_path().display(),
            errno_of(&error) as i32,
        )
    };
    // A FIFO does not block, and is then refused.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = File::from(open_at(at, flags)?);
    let found = fstat(&file).map_err(|errno| failed(errno.into()))?;
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG | SFlag::S_IFBLK => {}
        SFlag::S_IFDIR => return Err(failed(io::Error::from_raw_os_error(nix::libc::EISDIR))),
        _ => {
            let text = format!("{}: neither a file nor a block device", at.path);
            return Err(RemoteError::new(ErrorStage::File, text));
        }
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    opened(Some(files::from_system(&found)));
    use io::Read as _;
    let copied = match length {
        Some(length) => io::copy(&mut file.take(length), &mut data),
        None => io::copy(&mut file, &mut data),
    };
    copied.map_err(failed)
}

fn stat_of(file: impl std::os::fd::AsFd, at: &PathAt) -> Result<Option<Stat>, RemoteError> {
    fstat(file)
        .map(|stat| Some(files::from_system(&stat)))
        .map_err(|errno| {
            RemoteError::of(ErrorStage::File, at.path.as_path().display(), errno as i32)
        })
}

/// Entries as lines.
struct Lines<'a> {
    out: BufWriter<&'a File>,
    count: u64,
}

impl<'a> Lines<'a> {
    fn new(data: &'a File) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, data),
            count: 0,
        }
    }

    fn put(&mut self, entry: &Entry) -> Result<(), RemoteError> {
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        self.count += 1;
        self.out.write_all(&line).map_err(|error| unwritten(&error))
    }

    fn finish(mut self) -> Result<u64, RemoteError> {
        self.out.flush().map_err(|error| unwritten(&error))?;
        Ok(self.count)
    }
}

fn unwritten(error: &io::Error) -> RemoteError {
    RemoteError::of(ErrorStage::Process, "the pipe", errno_of(error) as i32)
}
