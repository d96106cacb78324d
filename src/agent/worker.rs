//! Runs requests that may block in a process of their own. Data goes over a pipe; over the status
//! pipe come two lines: the answer, such as that the stream is open, and the result.

use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat, readlinkat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::details::Asked;
use super::directory_read_ahead::DirectoryReadAhead;
use super::gather::Gatherer;
use super::process::{self, Spawned};
use super::records::Records;
use super::root::{DIRECTORY, failed, open_at};
use super::tree_lister::TreeLister;
use super::walk::{OneDirectory, Order};
use super::{contents, details, files, inject, mount, pack, resident, unpack, walk};
use crate::protocol::{
    Entry, ErrorStage, FileKind, Operation, PathAt, RemoteError, Response, Stat,
};

/// The capacity of the pipe for data. An emulated processor forgets much at each change to another process:
/// the more goes through at a time the better.
const PIPE_SIZE: i32 = 1 << 20;

pub(crate) fn spawn(op: &Operation, is_of_appliance: bool) -> Result<Spawned, RemoteError> {
    let (status, report) = process::status_pipe()?;
    let is_input = matches!(op, Operation::TarIn { .. });
    let (data, theirs) = process::pipe(true, !is_input).map_err(process::no_pipe)?;
    // This fails if the user's limit on pipe memory is reached, and is not essential.
    let _ = fcntl(&theirs, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
    // Above all the pipes of commands must be closed, or they would never be at their end.
    let keep = [theirs.as_fd(), report.as_fd()];
    let pid = process::forked(crate::sys::fork_child_keeping(keep, || {
        run(op, is_of_appliance, &theirs, &report);
        0
    }))?;
    let (stdin, stdout) = match is_input {
        true => (data, None),
        false => (None, data),
    };
    Ok(Spawned {
        is_worker: true,
        pid,
        status,
        terminal: None,
        stdin,
        stdout,
        stderr: None,
    })
}

/// Does what `op` asks for, in the forked process. `data` is the pipe.
fn run(op: &Operation, is_of_appliance: bool, data: &File, status: &File) {
    // In a process group of its own it can be killed, and it dies with the agent.
    let _ = nix::unistd::setsid();
    crate::sys::default_signals();
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let opened = |stat| process::report(status, &Ok::<_, RemoteError>(Response::Opened { stat }));
    let mut gatherer = Gatherer::new(is_of_appliance);
    let result = match op {
        Operation::List { .. }
        | Operation::Walk { .. }
        | Operation::WalkSorted { .. }
        | Operation::Details { .. }
        | Operation::ListTree { .. }
        | Operation::Contents { .. }
        | Operation::Read { .. } => output(op, &mut gatherer, u64::MAX, data, opened),
        Operation::TarOut { at, options, .. } => pack::pack(at, options, gatherer, data, opened),
        Operation::TarIn { at, options, .. } => unpack::unpack(at, options, data, opened),
        // The others have no stream: the answer is all they report.
        op => return process::report(status, &answer(op)),
    };
    process::report(status, &result);
}

/// Answers a request without a stream.
pub(super) fn answer(op: &Operation) -> Result<Response, RemoteError> {
    match op {
        Operation::Survey { disks } => Ok(mount::ops::survey(*disks)),
        Operation::KeptSurvey { disks } => Ok(mount::kept::survey(*disks)),
        Operation::SurveyUnlocking { disks } => Ok(mount::ops::survey_unlocking(*disks)),
        Operation::Unlock { answers } => mount::ops::unlock(answers),
        Operation::Warm => {
            let done = mount::ops::load_modules();
            resident::populate();
            Ok(done)
        }
        Operation::Mount {
            mounts,
            at,
            read_only,
            for_commands,
        } => mount::kept::mount(op, || {
            mount::ops::mount(mounts, at.as_path(), *read_only, *for_commands)
        }),
        Operation::Inject { at, stage, driver } => {
            inject::inject(at.as_path(), *stage, *driver).map(Response::Injected)
        }
        _ => Err(RemoteError::new(
            ErrorStage::Request,
            "not a request for a worker",
        )),
    }
}

/// Writes what a request asks for that has an output and no input. Digests are made of at most
/// `most_digested` bytes at once, or it fails.
pub(super) fn output(
    op: &Operation,
    gatherer: &mut Gatherer,
    most_digested: u64,
    mut data: impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let is_of_appliance = gatherer.is_of_appliance();
    if let Some(lister) = TreeLister::new(op, is_of_appliance) {
        let mut lister = lister?;
        opened(None);
        return lister.list(usize::MAX, data);
    }
    let read_ahead = DirectoryReadAhead::new(is_of_appliance);
    match op {
        Operation::List { at, .. } => list(at, data, opened),
        Operation::Walk {
            at,
            one_file_system,
            ..
        } => tree(at, *one_file_system, Order::Any, &read_ahead, data, opened),
        Operation::WalkSorted { at, .. } => {
            tree(at, false, Order::Sorted, &read_ahead, data, opened)
        }
        Operation::Details {
            root, files, key, ..
        } => {
            let asked = Asked {
                files,
                key,
                most: most_digested,
            };
            details::write(root, &asked, gatherer, data, || opened(None))
        }
        Operation::Contents { root, paths, .. } => {
            contents::write(root, paths, gatherer, data, || opened(None))
        }
        Operation::Read {
            at, offset, length, ..
        } => read(at, *offset, *length, &mut data, opened),
        _ => Err(RemoteError::new(
            ErrorStage::Request,
            "not a request for output",
        )),
    }
}

fn list(
    at: &PathAt,
    data: impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let directory = open_at(at, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    opened(Some(files::stat_of(&directory, at)?));
    let mut records = Records::new(data);
    let mut entries = OneDirectory::new(directory)?;
    while let Some(name) = entries.next(None) {
        records.put(&entries.entry(&name?.name))?;
    }
    records.finish()
}

fn tree(
    at: &PathAt,
    one_file_system: bool,
    order: Order,
    read_ahead: &DirectoryReadAhead,
    data: impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let top = open_at(at, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = files::stat_of(&top, at)?;
    let is_directory = stat.kind == FileKind::Directory;
    let mut records = Records::new(data);
    opened(Some(stat.clone()));
    records.put(&Entry {
        stat: Some(stat),
        link: readlinkat(&top, "").ok().map(Into::into),
        ..Entry::default()
    })?;
    if is_directory {
        let directory =
            openat(&top, ".", DIRECTORY, Mode::empty()).map_err(|errno| failed(at, errno))?;
        walk::walk(
            directory.into(),
            one_file_system,
            order,
            read_ahead,
            |_, _, entry| records.put(&entry),
        )?;
    }
    records.finish()
}

fn read(
    at: &PathAt,
    offset: u64,
    length: Option<u64>,
    data: &mut impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let (file, stat) = open_to_read(at, offset)?;
    opened(Some(stat));
    let copied = match length {
        Some(length) => io::copy(&mut file.take(length), data),
        None => io::copy(&mut &file, data),
    };
    copied.map_err(|error| failed(at, error))
}

/// Opens a regular file or a block device at an offset.
pub(super) fn open_to_read(at: &PathAt, offset: u64) -> Result<(File, Stat), RemoteError> {
    // Opening a FIFO must not block; it is refused afterwards.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = File::from(open_at(at, flags)?);
    let stat = files::stat_of(&file, at)?;
    match stat.kind {
        FileKind::File | FileKind::Block => {}
        FileKind::Directory => return Err(failed(at, Errno::EISDIR)),
        _ => {
            let text = format!("{}: neither a file nor a block device", at.path);
            return Err(RemoteError::new(ErrorStage::File, text));
        }
    }
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| failed(at, error))?;
    Ok((file, stat))
}
