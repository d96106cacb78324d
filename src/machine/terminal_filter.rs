//! Removes what a guest's firmware does to the user's terminal and never undoes. SeaBIOS resets the
//! terminal (ESC c, which in some also clears the scrollback) and turns line wrap off (ESC [ ? 7 l)
//! whenever it sets a video mode, and nothing later in a Linux boot turns it on again. All other
//! output passes unchanged, and so does everything that goes to a file or a pipe.

const RESET: &[u8] = b"\x1bc";
const NO_WRAP: &[u8] = b"\x1b[?7l";

/// Resets wrap, cursor, colours, keys and mouse to what a shell expects, whatever the guest did.
pub const RESTORE: &[u8] =
    b"\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";

#[derive(Debug, Default)]
pub struct TerminalFilter {
    /// The beginning of what may be one of them.
    held: Vec<u8>,
}

impl TerminalFilter {
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + self.held.len());
        for &byte in bytes {
            self.held.push(byte);
            if self.held == RESET || self.held == NO_WRAP {
                self.held.clear();
                continue;
            }
            // A byte that continues neither sequence may begin one.
            while !RESET.starts_with(&self.held) && !NO_WRAP.starts_with(&self.held) {
                out.push(self.held.remove(0));
            }
        }
        out
    }

    /// The bytes that are still held, at the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
        let mut filter = TerminalFilter::default();
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| filter.take(chunk)).collect();
        out.extend(filter.rest());
        out
    }

    #[test]
    fn the_two_sequences_are_taken_out_and_nothing_else() {
        assert_eq!(
            filtered(&[b"\x1bc\x1b[?7l\x1b[2JSeaBIOS"]),
            b"\x1b[2JSeaBIOS"
        );
        assert_eq!(
            filtered(&[b"a\x1b[?7h\x1b[7l\x1b\x1bcb\x1b"]),
            b"a\x1b[?7h\x1b[7l\x1bb\x1b"
        );
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            text in prop::collection::vec(prop::sample::select(b"\x1bc[?7lx".to_vec()), 0..40),
            cut in 0_usize..40,
        ) {
            let cut = cut.min(text.len());
            prop_assert_eq!(filtered(&[&text]), filtered(&[&text[..cut], &text[cut..]]));
        }

        #[test]
        fn text_without_escapes_passes_unchanged(text in "[^\u{1b}]*") {
            prop_assert_eq!(filtered(&[text.as_bytes()]), text.into_bytes());
        }
    }
}
