//! How much of a stream may be under way: the same count on both sides.

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

    /// Notes that `bytes` are sent, no more than are left.
    pub fn sent(&mut self, bytes: usize) {
        self.0 = self
            .0
            .saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes a credit.
    ///
    /// # Errors
    /// More credit than the window has room for: the reader makes it up.
    pub fn credited(&mut self, stream: StreamId, credit: u32) -> Result<(), WireError> {
        match self.0.checked_add(credit) {
            Some(sum) if sum <= WINDOW && credit > 0 => {
                self.0 = sum;
                Ok(())
            }
            _ => Err(WireError::Credit { stream, credit }),
        }
    }
}

/// The reader's side: how many bytes may still come, and how many were read since the last
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
    /// Notes that `bytes` have come.
    ///
    /// # Errors
    /// More than was credited.
    pub fn received(&mut self, stream: StreamId, bytes: usize) -> Result<(), WireError> {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(WireError::Overrun(stream))?;
        Ok(())
    }

    /// Notes that `bytes` of what came were read, and gives the credit that is now due: a
    /// quarter of a window or more at a time.
    pub fn read(&mut self, bytes: usize) -> Option<u32> {
        self.read = self
            .read
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX))
            .min(WINDOW - self.left);
        if self.read < WINDOW / 4 {
            return None;
        }
        self.left += self.read;
        Some(std::mem::take(&mut self.read))
    }
}
