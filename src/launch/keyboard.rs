//! Passes what is typed at a terminal to the guest, and finds the Ctrl-A sequences in it.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::machine::terminal::{Escapes, Key};

/// The longest line that is read, in bytes.
const LINE_MAX: usize = 80;

/// A terminal's input; by default none.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    typed: Option<mpsc::Receiver<Vec<u8>>>,
    to_guest: Option<mpsc::Sender<Vec<u8>>>,
    escapes: Escapes,
    pending: VecDeque<Key>,
}

impl Keyboard {
    /// Keys come from `typed`, and those for the guest go to `to_guest`.
    pub fn new(typed: mpsc::Receiver<Vec<u8>>, to_guest: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            typed: Some(typed),
            to_guest: Some(to_guest),
            ..Self::default()
        }
    }

    pub fn is_connected(&self) -> bool {
        self.to_guest.is_some()
    }

    /// Passes on what is typed until a key sequence asks for something else. May be dropped and
    /// called again.
    pub async fn next(&mut self) -> Key {
        loop {
            match self.pending.pop_front() {
                // Dropped if it does not fit, as on a serial line: a guest that reads nothing must
                // not keep us from Ctrl-A X.
                Some(Key::Pass(bytes)) => {
                    if let Some(to_guest) = &self.to_guest {
                        let _ = to_guest.try_send(bytes);
                    }
                    continue;
                }
                Some(key) => return key,
                None => {}
            }
            let Some(typed) = &mut self.typed else {
                return std::future::pending().await;
            };
            match typed.recv().await {
                Some(bytes) => self.pending.extend(self.escapes.take(&bytes)),
                // End-of-file, for the guest too.
                None => (self.typed, self.to_guest) = (None, None),
            }
        }
    }

    /// A line that is typed for bivouac; None if Ctrl-C, Escape or the end of the input gives it up. What
    /// is to be shown of it goes to `echo`.
    pub async fn line(&mut self, mut echo: impl FnMut(&[u8])) -> Option<String> {
        let mut line = Line::default();
        loop {
            let bytes = match self.pending.pop_front() {
                Some(Key::Pass(bytes)) => bytes,
                Some(_) => return None,
                None => self.typed.as_mut()?.recv().await?,
            };
            for byte in bytes {
                match line.take(byte, &mut echo) {
                    LineState::More => {}
                    LineState::Done => return Some(line.text),
                    LineState::GivenUp => return None,
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum LineState {
    More,
    Done,
    GivenUp,
}

/// A line of printable ASCII while it is typed on a raw terminal.
#[derive(Debug, Default)]
struct Line {
    text: String,
}

impl Line {
    fn take(&mut self, byte: u8, echo: &mut impl FnMut(&[u8])) -> LineState {
        const RUB_OUT: &[u8] = b"\x08 \x08";
        match byte {
            b'\r' | b'\n' => return LineState::Done,
            // Ctrl-C, Ctrl-D, Escape.
            0x03 | 0x04 | 0x1b => return LineState::GivenUp,
            // Backspace, and Ctrl-U for all.
            0x08 | 0x7f if self.text.pop().is_some() => echo(RUB_OUT),
            0x15 => {
                echo(&RUB_OUT.repeat(self.text.len()));
                self.text.clear();
            }
            b' '..=b'~' if self.text.len() < LINE_MAX => {
                self.text.push(char::from(byte));
                echo(&[byte]);
            }
            _ => {}
        }
        LineState::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pieces: &[&str]) -> (Option<String>, String) {
        let (send, typed) = mpsc::channel(8);
        for piece in pieces {
            send.try_send(piece.as_bytes().to_vec()).unwrap();
        }
        drop(send);
        let mut keyboard = Keyboard::new(typed, mpsc::channel(1).0);
        let mut shown = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let reading = keyboard.line(|bytes| shown.extend_from_slice(bytes));
        let read = runtime.unwrap().block_on(reading);
        (read, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_line_may_be_corrected_and_given_up() {
        assert_eq!(line(&["na", "me\r"]), (Some("name".into()), "name".into()));
        let (read, shown) = line(&["ax\x7fb\r"]);
        assert_eq!((read.as_deref(), &*shown), (Some("ab"), "ax\x08 \x08b"));
        assert_eq!(line(&["all\x15\x7fb\r"]).0.as_deref(), Some("b"));
        for gives_up in ["na\x03", "\x1b[A", "\x04", "na"] {
            assert_eq!(line(&[gives_up]).0, None, "{gives_up:?}");
        }
        let long = "x".repeat(100) + "\r";
        assert_eq!(line(&[&long]).0.unwrap().len(), LINE_MAX);
    }
}
