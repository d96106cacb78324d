//! Names that an image or a file system chose, made safe for a terminal and for a shell.
//!
//! It never drops a byte: what cannot be shown is escaped, so that two names never look alike.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path in a message: in double quotes, with control characters, quotes and bytes that are
/// not UTF-8 escaped.
#[derive(Clone, Copy)]
pub struct Quoted<'a>(pub &'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A path without quotes, for a table or a tree; escaped as [`Quoted`] where it must be.
#[derive(Clone, Copy)]
pub struct Plain<'a>(pub &'a Path);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let debug = format!("{:?}", self.0);
        let inner = debug
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match (inner, self.0.to_str()) {
            (Some(inner), Some(name)) if inner == name => f.write_str(name),
            _ => f.write_str(&debug),
        }
    }
}

/// Bytes from a header (a recorded name) as a path, for [`Quoted`] and [`Plain`].
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// One word of a POSIX shell command line (for control characters: of bash, zsh, ksh).
///
/// Plain words stay as they are; others are in single quotes; a word with control characters
/// or bytes that are not UTF-8 is in `$'...'`, so that it can be shown and pasted.
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(is_unprintable) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            let mut quoted = String::from("$'");
            for &byte in bytes {
                match byte {
                    b'\'' | b'\\' => quoted.extend(['\\', char::from(byte)]),
                    0x20..0x7f => quoted.push(char::from(byte)),
                    // Three octal digits never swallow the character behind them.
                    _ => quoted.push_str(&format!("\\{byte:03o}")),
                }
            }
            quoted.push('\'');
            quoted
        }
    }
}

/// Whether a terminal would not simply draw this character (controls, bidirectional marks).
fn is_unprintable(character: char) -> bool {
    !matches!(character, '\'' | '"' | '\\') && character.escape_debug().count() > 1
}

/// A command line of words, each quoted as [`shell_word`] does.
pub fn shell_line<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    words
        .into_iter()
        .map(shell_word)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let path = as_path(b"/a/\x1b[2Jb\n\xff\"\xe2\x80\xae");
        for text in [
            Quoted(path).to_string(),
            Plain(path).to_string(),
            shell_word(path),
        ] {
            assert!(text.is_ascii(), "{text}");
            assert!(!text.chars().any(char::is_control), "{text}");
        }
        assert_eq!(Plain(Path::new("/a b/é")).to_string(), "/a b/é");
    }

    #[test]
    fn shell_words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(shell_word("/a/b-1.qcow2"), "/a/b-1.qcow2");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word("~root"), "'~root'");
        assert_eq!(shell_word("a\n1'"), r"$'a\0121\''");
        assert_eq!(shell_line(["ls", "a b"]), "ls 'a b'");
    }
}
