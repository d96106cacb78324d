//! The file of `--console-log`: the beginning of what the guest prints, and its end if there is more
//! than the limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

/// The most that is kept for the end, in bytes.
const END: u64 = 256 << 10;

/// A file that gets a copy of the output, up to a limit.
#[derive(Debug)]
pub struct ConsoleLog {
    file: File,
    /// How many more bytes of the beginning it takes.
    left: u64,
    /// The last bytes after the beginning; at most `kept`.
    end: VecDeque<u8>,
    kept: u64,
    /// How many bytes between the beginning and `end` are lost.
    lost: u64,
}

impl ConsoleLog {
    /// A log of up to `limit` bytes, without the line that says how many were left out.
    pub fn new(file: File, limit: u64) -> Self {
        let kept = (limit / 4).min(END);
        Self {
            file,
            left: limit - kept,
            end: VecDeque::new(),
            kept,
            lost: 0,
        }
    }

    /// For another machine, which goes on with the beginning.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            end: VecDeque::new(),
            ..*self
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begin = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (begin, rest) = bytes.split_at(begin);
        self.left -= begin.len() as u64;
        self.file.write_all(begin).map_err(explain)?;
        self.end.extend(rest);
        let kept = usize::try_from(self.kept).unwrap_or(usize::MAX);
        let excess = self.end.len().saturating_sub(kept);
        if excess > 0 && self.lost == 0 {
            tracing::warn!(
                "--console-log has reached the size of --max-log; from here on only the end is kept"
            );
        }
        self.end.drain(..excess);
        self.lost += excess as u64;
        Ok(())
    }

    /// Writes the end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let lost = format!("\n[bivouac: {} bytes left out by --max-log]\n", self.lost);
            self.file.write_all(lost.as_bytes()).map_err(explain)?;
        }
        self.lost = 0;
        let end = std::mem::take(&mut self.end);
        let (first, second) = end.as_slices();
        self.file.write_all(first).map_err(explain)?;
        self.file.write_all(second).map_err(explain)
    }
}

fn explain(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("writing --console-log: {error}"))
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        // The reader was cancelled: the machine was killed.
        let _ = self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn logged(limit: u64, chunks: &[&[u8]]) -> String {
        let memory = nix::sys::memfd::memfd_create(c"log", nix::sys::memfd::MFdFlags::empty());
        let mut file = File::from(memory.unwrap());
        let mut log = ConsoleLog::new(file.try_clone().unwrap(), limit);
        for chunk in chunks {
            log.write(chunk).unwrap();
        }
        drop(log);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_log_over_its_limit_has_the_beginning_and_the_end() {
        assert_eq!(logged(8, &[b"abc", b"defgh"]), "abcdefgh");
        let out = "\n[bivouac: 3 bytes left out by --max-log]\n";
        assert_eq!(
            logged(8, &[b"abcdefg", b"hi", b"jk"]),
            format!("abcdef{out}jk")
        );
        assert_eq!(logged(8, &[b"abcdefghijk"]), format!("abcdef{out}jk"));
    }
}
