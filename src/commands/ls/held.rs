//! How much of what a guest lists is held at once: it may list for ever, and with names that are
//! longer than any name.

use crate::guest::session::SessionError;
use crate::guest::wire::{Entry, WireError};

/// How many entries a directory may have.
const MOST: usize = 1_000_000;
/// How many bytes of names, in all that is held.
const MOST_TEXT: usize = 256 << 20;

/// What may still be held.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    entries: usize,
    text: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            entries: MOST,
            text: MOST_TEXT,
        }
    }
}

impl Room {
    /// Takes room for an entry.
    ///
    /// # Errors
    /// There is none: what the guest sent is no directory.
    pub fn take(&mut self, entry: &Entry) -> Result<(), SessionError> {
        self.entries = (self.entries.checked_sub(1)).ok_or_else(|| {
            WireError::OutOfOrder(format!("more than {MOST} entries of one directory"))
        })?;
        self.take_text(entry.weight())
    }

    /// Takes room for a name alone.
    ///
    /// # Errors
    /// As above.
    pub fn take_text(&mut self, bytes: usize) -> Result<(), SessionError> {
        self.text = (self.text.checked_sub(bytes)).ok_or_else(|| {
            WireError::OutOfOrder(format!("names of more than {} MiB", MOST_TEXT >> 20))
        })?;
        Ok(())
    }

    /// Gives the room of a name back.
    pub fn give_text(&mut self, bytes: usize) {
        self.text = self.text.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::wire::ByteString;

    #[test]
    fn a_list_ends_by_its_number_or_by_its_length() {
        let mut entry = Entry {
            path: ByteString(vec![b'x'; 100]),
            stat: None,
            link: None,
            error: None,
        };
        let taken = |entry: &Entry| {
            let mut room = Room::default();
            let taken = std::iter::repeat_with(|| room.take(entry));
            taken.take_while(Result::is_ok).count()
        };
        assert_eq!(taken(&entry), MOST);
        entry.link = Some(ByteString(vec![b'y'; 99_900]));
        assert_eq!(taken(&entry), MOST_TEXT / 100_000);
    }
}
