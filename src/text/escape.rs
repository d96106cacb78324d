//! Text from outside made safe for a terminal and for a shell: names that an image, a file system
//! or a guest chose. Nothing is dropped: what cannot be shown is escaped, so that two names never
//! look alike.

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

/// How much of an untrusted text a message shows, in characters.
const UNTRUSTED_MAX: usize = 300;

/// Text that an image, a guest or QEMU chose, on one line of a message: escaped as [`printable`]
/// does, and without its middle if it is longer than 300 characters.
#[derive(Clone, Copy, Debug)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = printable(self.0);
        let length = text.chars().count();
        if length <= UNTRUSTED_MAX {
            return f.write_str(&text);
        }
        // An error's cause is at its end.
        let (left, right) = (UNTRUSTED_MAX * 2 / 3, UNTRUSTED_MAX / 3 - 3);
        let (start, end): (String, String) = (
            text.chars().take(left).collect(),
            text.chars().skip(length - right).collect(),
        );
        write!(f, "{start}...{end}")
    }
}

/// The output of another program: each line as [`Untrusted`], all but the first indented.
pub fn output_lines(output: &str) -> String {
    let lines: Vec<_> = output
        .lines()
        .map(|line| Untrusted(line).to_string())
        .collect();
    lines.join("\n    ")
}

/// Whole lines of a message. Only its first line may begin as bivouac's own lines do: a further one
/// that seems to is marked, because its text may not be bivouac's.
pub fn message_lines(text: &str) -> impl Iterator<Item = String> {
    let is_forged = |line: &str| {
        let line = line.trim_start();
        line.starts_with("bivouac:") || line.starts_with("hint:")
    };
    text.lines().enumerate().map(move |(number, line)| {
        let line = printable(line);
        match number > 0 && is_forged(&line) {
            true => format!("  | {}", line.trim_start()),
            false => line,
        }
    })
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

/// Text for one line of a terminal: control characters but tabs, and marks that change the
/// direction of writing, are escaped.
pub fn printable(text: &str) -> String {
    let show = |character: char| match character != '\t' && is_unprintable(character) {
        true => character.escape_debug().to_string(),
        false => character.to_string(),
    };
    text.chars().map(show).collect()
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

/// Makes a stream safe for a terminal as it flows: line feeds and tabs pass, and so does text;
/// other control characters, marks that change the direction of writing and bytes that are not
/// UTF-8 come out as `\x1b` or `\u{202e}`.
#[derive(Debug, Default)]
pub struct Escaper {
    /// The beginning of a character whose end has not come yet.
    held: Vec<u8>,
}

impl Escaper {
    /// Adds what may be shown of `bytes` to `out`.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => return show(text, out),
                Err(error) => error,
            };
            let (text, wrong) = rest.split_at(error.valid_up_to());
            // Checked just now.
            show(&String::from_utf8_lossy(text), out);
            let Some(length) = error.error_len() else {
                self.held = wrong.to_vec();
                return;
            };
            let (wrong, behind) = wrong.split_at(length);
            escape_bytes(wrong, out);
            rest = behind;
        }
    }

    /// Adds what was held back, once nothing more comes.
    pub fn rest(&mut self, out: &mut Vec<u8>) {
        escape_bytes(&std::mem::take(&mut self.held), out);
    }
}

fn show(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character as u8),
            '\0'..='\x7f' if character.is_control() => escape_bytes(&[character as u8], out),
            _ if is_unprintable(character) => {
                out.extend_from_slice(character.escape_unicode().to_string().as_bytes());
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn escape_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(
            printable("a\t\"b\"\x1b[2J\n\u{202e}"),
            "a\t\"b\"\\u{1b}[2J\\n\\u{202e}"
        );
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

    #[test]
    fn an_untrusted_text_is_one_line_with_its_start_and_its_end() {
        let label = "x\nbivouac: error: forged\n  hint: sh\u{2028}";
        let shown = r"x\nbivouac: error: forged\n  hint: sh\u{2028}";
        assert_eq!(Untrusted(label).to_string(), shown);
        let long = Untrusted(&format!("{}: why", "é\n".repeat(100_000))).to_string();
        assert_eq!(long.chars().count(), 300);
        assert!(long.starts_with(r"é\né\n") && long.ends_with(": why"));
    }

    proptest! {
        #[test]
        fn no_line_but_the_first_begins_as_ours_do(
            text in "([ \t\r\n\u{85}\u{a0}\u{200b}\u{2028}|x]|bivouac: error: |hint: ){0,20}",
        ) {
            for line in message_lines(&format!("bivouac: error: {text}")).skip(1) {
                prop_assert!(!line.trim_start().starts_with("bivouac:"), "{line:?}");
                prop_assert!(!line.trim_start().starts_with("hint:"), "{line:?}");
                prop_assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
            }
            let output = output_lines(&text);
            prop_assert!(output.lines().skip(1).all(|line| line.starts_with("    ")), "{output:?}");
        }
    }

    fn escaped(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut escaper, mut out) = (Escaper::default(), Vec::new());
        for chunk in chunks {
            escaper.take(chunk, &mut out);
        }
        escaper.rest(&mut out);
        out
    }

    #[test]
    fn a_stream_is_text_on_a_terminal_and_nothing_else() {
        let hostile = b"a\tb\n\x1b[2J\r\x07\xc2\x9b\xff\xe2\x80\xae \xc3\xa9 \\ \xe2\x82";
        let shown = br"\x1b[2J\x0d\x07\u{9b}\xff\u{202e} ";
        let shown = [b"a\tb\n", &shown[..], "é \\ ".as_bytes(), br"\xe2\x82"].concat();
        assert_eq!(escaped(&[hostile]), shown);
        // However it is cut.
        let bytes: Vec<_> = hostile.chunks(1).collect();
        assert_eq!(escaped(&bytes), shown);
    }
}
