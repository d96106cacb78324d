//! Flow control: how much of a stream may be in flight. Both sides keep the same count.

use super::{StreamId, WINDOW, WireError};

/// The writer's side: how many bytes may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow(u32);

impl Default for SendWindow {
    fn default() -> Self {
        Self(WINDOW)
    }
}

impl SendWindow {
    /// How many bytes may be sent now.
    pub fn left(self) -> usize {
        self.0 as usize
    }

    /// Records that `bytes` were sent, no more than are left.
    pub fn sent(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0 = self.0.saturating_sub(bytes);
    }

    /// Adds a credit. More than the window has room for is an error: the reader never had it.
    pub fn credited(&mut self, stream: StreamId, credit: u32) -> Result<(), WireError> {
        let sum = self.0.checked_add(credit);
        let sum = sum.filter(|sum| *sum <= WINDOW && credit > 0);
        self.0 = sum.ok_or(WireError::Credit { stream, credit })?;
        Ok(())
    }
}

/// The reader's side: how many bytes may still arrive, and how many were read since the last
/// credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    left: u32,
    read: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        let left = WINDOW;
        Self { left, read: 0 }
    }
}

impl ReceiveWindow {
    /// Records that `bytes` arrived. More than was credited is an error.
    pub fn received(&mut self, stream: StreamId, bytes: usize) -> Result<(), WireError> {
        let bytes = u32::try_from(bytes).ok();
        let left = bytes.and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(WireError::Overrun(stream))?;
        Ok(())
    }

    /// Records that `bytes` of what arrived were read. Returns the credit that is now due, once
    /// it is a quarter of a window or more.
    pub fn read(&mut self, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.read = self.read.saturating_add(bytes).min(WINDOW - self.left);
        if self.read < WINDOW / 4 {
            return None;
        }
        self.left += self.read;
        Some(std::mem::take(&mut self.read))
    }
}
