//! Passes what is typed at a terminal to the guest, and finds the Ctrl-A sequences in it.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::machine::terminal::{Escapes, Key};

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
}
