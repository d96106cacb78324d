//! The text of a console: its bytes without escape sequences, line by line. Firmware and boot loaders
//! draw their screens with cursor movements, also in the middle of words. Pure.

/// Longer lines are cut, in bytes: a guest may never end one.
pub(super) const LINE_MAX: usize = 512;

/// Longer parameters of an escape sequence are cut, in bytes. Also the length of the longest string
/// (such as a window's title) that is skipped: a guest may never end one.
const PARAMETERS_MAX: usize = 16;
const STRING_MAX: usize = 512;

/// What a byte did, besides adding to the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// This line is complete.
    Line(String),
    /// The screen was cleared. The unfinished line is gone, too.
    Cleared,
}

/// Where in an escape sequence the text is (ECMA-48).
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, with its parameters so far.
    Control(Vec<u8>),
    /// In a control string that ends with BEL or ESC `\`, with its length so far.
    String(usize),
    /// After ESC in a control string.
    StringEscape,
}

/// Takes escape sequences out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct ConsoleText {
    state: State,
    line: Vec<u8>,
    /// The cursor is at the start of the line, which is overwritten by whatever follows.
    returned: bool,
}

impl ConsoleText {
    /// The line so far.
    pub fn unfinished(&self) -> String {
        printable(&self.line)
    }

    pub fn take(&mut self, byte: u8) -> Option<Change> {
        match &mut self.state {
            State::Text => return self.text(byte),
            State::Escape => {
                self.state = match byte {
                    b'[' => State::Control(Vec::new()),
                    // DCS, SOS, OSC, PM and APC.
                    b'P' | b'X' | b']' | b'^' | b'_' => State::String(0),
                    _ => State::Text,
                };
                // ESC c: RIS, a reset of the terminal.
                return (byte == b'c').then(|| self.clear());
            }
            State::Control(parameters) => match byte {
                b'@'..=b'~' => {
                    let parameters = std::mem::take(parameters);
                    self.state = State::Text;
                    return self.control(&parameters, byte);
                }
                _ if parameters.len() < PARAMETERS_MAX => parameters.push(byte),
                _ => {}
            },
            State::String(length) => match byte {
                0x07 => self.state = State::Text,
                0x1b => self.state = State::StringEscape,
                _ if *length < STRING_MAX => *length += 1,
                _ => self.state = State::Text,
            },
            State::StringEscape => {
                self.state = State::Escape;
                return match byte {
                    b'\\' => {
                        self.state = State::Text;
                        None
                    }
                    _ => self.take(byte),
                };
            }
        }
        None
    }

    fn text(&mut self, byte: u8) -> Option<Change> {
        match byte {
            b'\n' => return Some(self.finish()),
            b'\r' => self.returned = true,
            0x1b => self.state = State::Escape,
            _ => {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                }
                if self.line.len() < LINE_MAX {
                    self.line.push(byte);
                }
            }
        }
        None
    }

    /// A control sequence with this final byte.
    fn control(&mut self, parameters: &[u8], last: u8) -> Option<Change> {
        let parameters = String::from_utf8_lossy(parameters);
        match last {
            // ED: from the cursor on, which was moved to the start before, or all of the screen.
            b'J' if parameters != "1" => Some(self.clear()),
            // CUP to the first column.
            b'H' | b'f' if !self.line.is_empty() => {
                let column = parameters.split_once(';').map_or("", |(_, column)| column);
                let first = column.trim_start_matches('0');
                matches!(first, "" | "1").then(|| self.finish())
            }
            _ => None,
        }
    }

    fn finish(&mut self) -> Change {
        self.returned = false;
        Change::Line(printable(&std::mem::take(&mut self.line)))
    }

    fn clear(&mut self) -> Change {
        self.returned = false;
        self.line.clear();
        Change::Cleared
    }
}

/// `bytes` without control characters and spaces at the end.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let chars = text.chars().map(|c| if c == '\t' { ' ' } else { c });
    let text: String = chars.filter(|c| !c.is_control()).collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `bytes`, the unfinished one last; `--` where the screen was cleared.
    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut text = ConsoleText::default();
        let changes = bytes.iter().filter_map(|byte| text.take(*byte));
        let mut lines: Vec<String> = changes
            .map(|change| match change {
                Change::Line(line) => line,
                Change::Cleared => "--".to_owned(),
            })
            .collect();
        lines.push(text.unfinished());
        lines
    }

    #[test]
    fn what_moves_the_cursor_is_left_out_of_words_and_ends_lines() {
        let grub = b"\x1b[19;02H  keys to se\x1b[19;32H\x1b[19;33Hlect\x1b[0m one.  \r\n menu\x1b[05;01Hgrub> ";
        assert_eq!(lines(grub), ["  keys to select one.", " menu", "grub>"]);
        assert_eq!(lines(b"a\tb\x1b[Hc\x1b[3;1Hd"), ["a b", "c", "d"]);
    }

    #[test]
    fn a_cleared_screen_has_no_unfinished_line() {
        assert_eq!(lines(b"\x1bc\x1b[2Jx\x1b[Jy"), ["--", "--", "--", "y"]);
        assert_eq!(lines(b"x\x1b[1Jy"), ["xy"]);
    }

    #[test]
    fn a_carriage_return_lets_the_line_be_written_again() {
        assert_eq!(lines(b"10%\r20%\r\r\n\r30%"), ["20%", "30%"]);
    }

    #[test]
    fn titles_and_other_strings_are_skipped() {
        let titled = b"\x1b]0;a title\x07a\x1b]3008;start=x\x1b\\b\x1bPq\x1b[1mc";
        assert_eq!(lines(titled), ["abc"]);
        let mut endless = b"\x1b]".to_vec();
        endless.resize(STRING_MAX + 3, b'x');
        endless.extend(b"seen");
        assert_eq!(lines(&endless), ["seen"]);
    }
}
