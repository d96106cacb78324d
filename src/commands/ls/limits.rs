//! Limits on what is kept of a guest's listing: a hostile one is endless.

use crate::protocol::{Entry, WireError};
use crate::session::SessionError;

const MAX_ENTRIES: usize = 1_000_000;
const MAX_TEXT: usize = 256 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Budget {
    entries: usize,
    text: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            entries: MAX_ENTRIES,
            text: MAX_TEXT,
        }
    }
}

impl Budget {
    /// Subtracts an entry. Fails if a limit is exceeded: this is no real directory.
    pub fn take(&mut self, entry: &Entry) -> Result<(), SessionError> {
        self.entries = (self.entries.checked_sub(1)).ok_or_else(|| {
            WireError::OutOfOrder(format!("more than {MAX_ENTRIES} entries of one directory"))
        })?;
        self.take_text(entry.weight())
    }

    pub fn take_text(&mut self, bytes: usize) -> Result<(), SessionError> {
        self.text = (self.text.checked_sub(bytes)).ok_or_else(|| {
            WireError::OutOfOrder(format!("names of more than {} MiB", MAX_TEXT >> 20))
        })?;
        Ok(())
    }

    /// Adds the bytes of a name that is no longer kept.
    pub fn give_text(&mut self, bytes: usize) {
        self.text = self.text.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ByteString;

    #[test]
    fn a_list_ends_by_its_number_or_by_its_length() {
        let mut entry = Entry {
            path: ByteString(vec![b'x'; 100]),
            stat: None,
            link: None,
            error: None,
        };
        let taken = |entry: &Entry| {
            let mut budget = Budget::default();
            let taken = std::iter::repeat_with(|| budget.take(entry));
            taken.take_while(Result::is_ok).count()
        };
        assert_eq!(taken(&entry), MAX_ENTRIES);
        entry.link = Some(ByteString(vec![b'y'; 99_900]));
        assert_eq!(taken(&entry), MAX_TEXT / 100_000);
    }
}
