//! How far a file was printed, and what to print next. Pure.

use crate::protocol::Stat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub inode: u64,
    /// The number of bytes that were printed.
    pub bytes: u64,
}

/// What became of a file since it was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Unchanged,
    /// It has grown beyond this offset.
    Grown(u64),
    /// It is shorter than it was, so it was truncated and written again.
    Truncated,
    /// Another file has its name.
    Replaced,
}

impl Position {
    pub fn change(self, stat: &Stat) -> Change {
        if stat.inode != self.inode {
            Change::Replaced
        } else if stat.size < self.bytes {
            Change::Truncated
        } else if stat.size == self.bytes {
            Change::Unchanged
        } else {
            Change::Grown(self.bytes)
        }
    }
}

/// The last lines of a text; the last one need not end in a line feed. `None` if the text has too
/// few of them and is not the whole file.
pub fn last_lines(text: &[u8], lines: usize, is_whole: bool) -> Option<&[u8]> {
    if lines == 0 {
        return Some(&[]);
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = body.iter().enumerate().rev();
    let mut ends = ends.filter_map(|(at, byte)| (*byte == b'\n').then_some(at));
    match ends.nth(lines - 1) {
        Some(at) => Some(&text[at + 1..]),
        None => is_whole.then_some(text),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::FileKind;
    use proptest::prelude::*;

    pub fn stat(inode: u64, size: u64) -> Stat {
        Stat {
            kind: FileKind::File,
            mode: 0o644,
            links: 1,
            size,
            blocks: 8,
            device: 1,
            inode,
            ..Stat::default()
        }
    }

    #[test]
    fn a_file_that_grew_is_shown_from_where_it_ended() {
        let (inode, bytes) = (7, 100);
        let shown = Position { inode, bytes };
        assert_eq!(shown.change(&stat(7, 100)), Change::Unchanged);
        assert_eq!(shown.change(&stat(7, 150)), Change::Grown(100));
        assert_eq!(shown.change(&stat(7, 99)), Change::Truncated);
        assert_eq!(shown.change(&stat(8, 150)), Change::Replaced);
    }

    #[test]
    fn last_lines_are_those_of_tail() {
        let text = b"a\nb\n\nc\n";
        assert_eq!(last_lines(text, 0, true), Some(&b""[..]));
        assert_eq!(last_lines(text, 1, true), Some(&b"c\n"[..]));
        assert_eq!(last_lines(text, 2, true), Some(&b"\nc\n"[..]));
        assert_eq!(last_lines(text, 4, true), Some(&text[..]));
        assert_eq!(last_lines(text, 9, true), Some(&text[..]));
        assert_eq!(last_lines(text, 4, false), None);
        assert_eq!(last_lines(b"a\nb", 1, true), Some(&b"b"[..]));
        assert_eq!(last_lines(b"", 3, true), Some(&b""[..]));
    }

    proptest! {
        #[test]
        fn as_many_lines_as_asked_for(text in "[a\n]{0,40}", lines in 0_usize..10) {
            let shown = last_lines(text.as_bytes(), lines, true).unwrap();
            let all = text.lines().count();
            prop_assert!(text.as_bytes().ends_with(shown));
            let number = std::str::from_utf8(shown).unwrap().lines().count();
            prop_assert_eq!(number, all.min(lines));
        }
    }
}
