//! Divides standard input into lines, with a limit on their length.

use crate::rpc::{ErrorKind, MAX_LINE, RpcError};

/// What has come of a line that is not complete.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// The line was too long; its rest is skipped.
    skips: bool,
}

impl Lines {
    /// Takes what has come, and passes each complete line on that is not blank, without its end. A
    /// line that is too long is an error, and the ones behind it are read all the same.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Result<&[u8], RpcError>)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = part.strip_suffix(b"\n");
            let more = text.unwrap_or(part);
            if !self.skips && self.line.len() + more.len() > MAX_LINE {
                self.skips = true;
                let why = format!("a request is at most {MAX_LINE} bytes long");
                each(Err(RpcError::new(ErrorKind::Limit, why)));
            }
            match self.skips {
                true => self.line = Vec::new(),
                false => self.line.extend_from_slice(more),
            }
            if text.is_some() {
                if !self.skips && !self.line.trim_ascii().is_empty() {
                    each(Ok(&self.line));
                }
                self.line.clear();
                self.skips = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.take(chunk, |line| {
                found.push(match line {
                    Ok(line) => String::from_utf8_lossy(line).into_owned(),
                    Err(error) => format!("{:?}", error.kind()),
                });
            });
        }
        found
    }

    #[test]
    fn lines_come_whole_whatever_the_chunks() {
        assert_eq!(lines(&[b"a\nb", b"c\n\n \r\n", b"d"]), ["a", "bc"]);
        assert_eq!(lines(&[b"\n", b"", b"a", b"\n"]), ["a"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_said_once() {
        let long = vec![b'x'; MAX_LINE / 2 + 1];
        assert_eq!(lines(&[&long, &long, &long, b"y\nz\n"]), ["Limit", "z"]);
    }
}
