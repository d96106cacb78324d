//! Requests that the agent of an appliance answers in its own process. A fork, and the copies of
//! pages after it, would take a quarter of the time of an inspection, and such an agent has nothing
//! else to do meanwhile.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::gather::{AT_ONCE, Gatherer};
use super::tree_lister::TreeLister;
use super::{streams, worker};
use crate::protocol::{ErrorStage, Operation, RemoteError, Response, Stat};

/// The longest output that is not a worker's, in bytes. A new stream takes it at once.
const LONGEST: usize = 64 << 10;

/// How much of a long list is made before it is sent, in bytes: the host works on it meanwhile.
const PART: usize = 32 << 10;

/// The longest output that is kept in memory until it is sent, in bytes.
const LARGEST: usize = 16 << 20;

/// How much digests are made of here, in bytes: the loop waits for it, and the launcher for the loop.
const MOST_DIGESTED: u64 = 4 << 20;

/// Whether a request is about the disks of an appliance and has no stream.
pub(super) fn is_of_disks(op: &Operation) -> bool {
    matches!(
        op,
        Operation::Survey { .. }
            | Operation::KeptSurvey { .. }
            | Operation::SurveyUnlocking { .. }
            | Operation::Unlock { .. }
            | Operation::Warm
            | Operation::Mount { .. }
    )
}

/// Answers such a request.
pub(super) fn answer(op: &Operation) -> Result<Response, RemoteError> {
    unless_panicked(|| worker::answer(op)).unwrap_or_else(|| Err(panicked()))
}

fn panicked() -> RemoteError {
    RemoteError::new(ErrorStage::Process, "the agent failed unexpectedly")
}

/// The whole output of a `List`, `Walk`, `Contents` or `Read`. `None` if it is long, or if there was an error,
/// which a worker reports.
pub(super) fn output(op: &Operation) -> Option<(Option<Stat>, Vec<u8>)> {
    if !may_be_short(op) {
        return None;
    }
    unless_panicked(|| {
        let mut stat = None;
        let mut output = Output(Vec::new());
        output_of(op, &mut output, |opened| stat = opened).ok()?;
        Some((stat, output.0))
    })?
}

/// Whether it is worth to try.
fn may_be_short(op: &Operation) -> bool {
    match op {
        Operation::ListTree { .. } => false,
        Operation::Contents { paths, .. } => paths.len() <= 8,
        // What is asked for by its length is there, as a rule.
        Operation::Read { length, .. } => length.is_none_or(|length| length <= LONGEST as u64),
        _ => true,
    }
}

/// The output of a `Read`, `ListTree`, `Contents` or `Details` that is sent little by little. `None` if there was an
/// error, which a worker reports.
pub(super) fn stream(id: u64, op: &Operation) -> Option<(Option<Stat>, streams::Output)> {
    if let Operation::Read {
        at, offset, length, ..
    } = op
    {
        let (file, stat) = worker::open_to_read(at, *offset).ok()?;
        let length = length.unwrap_or(u64::MAX);
        return Some((Some(stat), streams::Output::of_file(id, file, length)));
    }
    let memory = || {
        Some(File::from(
            memfd_create("output", MFdFlags::MFD_CLOEXEC).ok()?,
        ))
    };
    if let Some(lister) = TreeLister::new(op, true) {
        let parts = Box::new(Parts(lister.ok()?));
        return Some((None, streams::Output::of_source(id, memory()?, parts)));
    }
    match op {
        Operation::Contents { .. } => {}
        Operation::Details { files, .. } if files.len() <= AT_ONCE => {}
        _ => return None,
    }
    unless_panicked(|| {
        let mut output = Limited(memory()?, LARGEST);
        output_of(op, &mut output, |_| {}).ok()?;
        let mut file = output.0;
        file.rewind().ok()?;
        Some((None, streams::Output::of_file(id, file, u64::MAX)))
    })?
}

/// What a lister writes, as soon as there is enough to be sent.
struct Parts(TreeLister);

impl streams::Source for Parts {
    fn next_part(&mut self, file: &File) -> Result<bool, RemoteError> {
        let listing = AssertUnwindSafe(|| self.0.list(PART, file));
        let listed = unless_panicked(listing).unwrap_or_else(|| Err(panicked()));
        listed.map(|count| count > 0)
    }
}

/// Kept, so that its memory is there at the next request.
static GATHERER: Mutex<Gatherer> = Mutex::new(Gatherer::new(true));

fn output_of(
    op: &Operation,
    data: impl Write,
    opened: impl FnOnce(Option<Stat>),
) -> Result<u64, RemoteError> {
    let mut gatherer = GATHERER.lock().unwrap_or_else(PoisonError::into_inner);
    worker::output(op, &mut gatherer, MOST_DIGESTED, data, opened)
}

/// Takes as many bytes.
struct Limited(File, usize);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.1.checked_sub(bytes.len());
        self.1 = left.ok_or(io::ErrorKind::FileTooLarge)?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unless_panicked<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    catch_unwind(work).ok()
}

/// Takes [`LONGEST`] bytes.
struct Output(Vec<u8>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{PathAt, StreamId};

    fn read(path: &std::path::Path) -> Option<(Option<Stat>, Vec<u8>)> {
        let at = PathAt {
            root: "/".into(),
            path: path.into(),
        };
        output(&Operation::Read {
            at,
            offset: 0,
            length: None,
            out: StreamId(std::num::NonZeroU32::MIN),
        })
    }

    #[test]
    fn what_is_longer_is_left_to_a_worker() {
        let dir = tempfile::tempdir().unwrap();
        for (length, is_short) in [(0, true), (LONGEST, true), (LONGEST + 1, false)] {
            let path = dir.path().join("file");
            std::fs::write(&path, vec![7; length]).unwrap();
            let read = read(&path);
            assert_eq!(read.is_some(), is_short);
            let whole = read.is_none_or(|(stat, bytes)| {
                stat.is_some_and(|stat| stat.size == length as u64) && bytes == vec![7; length]
            });
            assert!(whole);
        }
        assert_eq!(read(&dir.path().join("missing")), None);
        assert_eq!(read(dir.path()), None);
    }
}
