//! Runs a command in a guest and keeps its output: the beginning and the end of it, whatever a guest
//! may print.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::session::{Command, ExecEnd, Session, SessionError, Stdio, StreamReader};

/// How much is kept of an output, in bytes: of its beginning, and of its end.
const HEAD: usize = 64 << 10;
const TAIL: usize = 448 << 10;

/// How long an output may be silent after its command has ended. A process that the command left
/// behind may hold it open.
const SILENCE: Duration = Duration::from_secs(1);

/// What a command printed to standard output and error, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// How many bytes between the two are missing.
    left_out: u64,
}

impl Captured {
    pub fn take(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// All that was kept, with a line where something is missing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.left_out > 0 {
            bytes.extend(format!("\n[{} bytes left out]\n", self.left_out).bytes());
        }
        bytes.extend(&self.tail);
        bytes
    }
}

/// Runs a command without input to its end. What it has printed by then is in `output`, also if this
/// is dropped on the way.
pub(crate) async fn run(
    session: &Session,
    command: Command,
    output: &mut Captured,
) -> Result<ExecEnd, SessionError> {
    let stdio = Stdio {
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let mut exec = session.exec_with(command, stdio).await?;
    let (mut stdout, mut stderr) = (exec.stdout.take(), exec.stderr.take());
    let mut buffers = [vec![0; 32 << 10], vec![0; 32 << 10]];
    let [first, second] = &mut buffers;
    let mut ended = None;
    loop {
        if let (Some(end), None, None) = (ended, &stdout, &stderr) {
            return Ok(end);
        }
        tokio::select! {
            read = read(&mut stdout, first), if stdout.is_some() => match read {
                0 => stdout = None,
                read => output.take(&first[..read]),
            },
            read = read(&mut stderr, second), if stderr.is_some() => match read {
                0 => stderr = None,
                read => output.take(&second[..read]),
            },
            end = exec.wait(), if ended.is_none() => ended = Some(end?),
            () = tokio::time::sleep(SILENCE), if ended.is_some() => (stdout, stderr) = (None, None),
        }
    }
}

/// The next bytes of a stream; none at its end. If it broke off, its command's end says why.
async fn read(stream: &mut Option<StreamReader>, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_a_long_output_the_middle_is_left_out() {
        let mut captured = Captured::default();
        captured.take(&vec![b'X'; HEAD]);
        captured.take(&[b'Y'; 10]);
        captured.take(&vec![b'Z'; TAIL]);
        let text = String::from_utf8(captured.to_bytes()).unwrap();
        assert!(text.starts_with('X') && text.ends_with('Z') && !text.contains('Y'));
        assert!(text.contains("X\n[10 bytes left out]\nZ"));
    }

    proptest! {
        #[test]
        fn a_short_output_is_kept_as_it_is(chunks in prop::collection::vec(".{0,40}", 0..20)) {
            let mut captured = Captured::default();
            for chunk in &chunks {
                captured.take(chunk.as_bytes());
            }
            prop_assert_eq!(captured.to_bytes(), chunks.concat().into_bytes());
            prop_assert_eq!(captured.is_empty(), chunks.concat().is_empty());
        }
    }
}
