//! The way to the client: lines on standard output.

use std::cell::RefCell;

use tokio::sync::mpsc;

use crate::rpc::{Message, Notification};

pub(super) struct Client {
    /// The channel is bounded: a slow client slows down what it asked for.
    lines: RefCell<Option<mpsc::Sender<Vec<u8>>>>,
}

impl Client {
    pub fn new(lines: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            lines: RefCell::new(Some(lines)),
        }
    }

    fn lines(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.lines.borrow().clone()
    }

    /// Writes a message. Waits while the client does not read; one that is gone gets nothing.
    pub async fn send(&self, message: &Message) {
        self.send_line(message.line()).await;
    }

    /// Writes a line, as [`Self::send`] does.
    pub async fn send_line(&self, line: Vec<u8>) {
        if let Some(lines) = self.lines() {
            let _ = lines.send(line).await;
        }
    }

    pub async fn notify(&self, params: &impl Notification) {
        self.send(&Message::notification(params)).await;
    }

    /// Waits until nothing more can be written.
    pub async fn gone(&self) {
        if let Some(lines) = self.lines() {
            lines.closed().await;
        }
    }

    /// From here on nothing is written.
    pub fn close(&self) {
        self.lines.borrow_mut().take();
    }
}
