//! Requests that the agent of an appliance answers in its own process. A fork, and the copies of
//! pages after it, would take a quarter of the time of an inspection, and such an agent has nothing
//! else to do meanwhile.

use std::io::{self, Write};
use std::panic::{UnwindSafe, catch_unwind};

use super::worker;
use crate::protocol::{ErrorStage, Operation, RemoteError, Response, Stat};

/// The longest output that is not a worker's, in bytes. A new stream takes it at once.
const LONGEST: usize = 64 << 10;

/// Whether a request is about the disks of an appliance and has no stream.
pub(super) fn is_of_disks(op: &Operation) -> bool {
    matches!(
        op,
        Operation::Survey { .. }
            | Operation::SurveyUnlocking { .. }
            | Operation::Unlock { .. }
            | Operation::Warm
            | Operation::Mount { .. }
    )
}

/// Answers such a request.
pub(super) fn answer(op: &Operation) -> Result<Response, RemoteError> {
    unless_panicked(|| worker::answer(op)).unwrap_or_else(|| {
        let text = "the agent failed unexpectedly";
        Err(RemoteError::new(ErrorStage::Process, text))
    })
}

/// The whole output of a `List`, `Walk` or `Read`. `None` if it is long, or if there was an error,
/// which a worker reports.
pub(super) fn output(op: &Operation) -> Option<(Option<Stat>, Vec<u8>)> {
    unless_panicked(|| {
        let mut stat = None;
        let mut output = Output(Vec::new());
        worker::output(op, &mut output, |opened| stat = opened).ok()?;
        Some((stat, output.0))
    })?
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
