//! Removes from a guest's output what outlasts it in the user's terminal, or makes the terminal answer
//! what nobody asked: resets (SeaBIOS sends ESC c, which may clear the scrollback, and turns line wrap
//! off), titles, the clipboard, strings to the terminal (DCS and others), ENQ and reports of the title.
//! All other output passes unchanged, and so does everything that goes to a file or a pipe.

use std::sync::atomic::{AtomicBool, Ordering};

const RESET: u8 = b'c';
const NO_WRAP: &[u8] = b"\x1b[?7l";

/// Longer sequences are dropped, in bytes.
const SEQUENCE_MAX: usize = 4096;

/// Whether the guest's output has switched to the alternate screen, and has set margins. Global,
/// because a thread writes the output and another restores the terminal.
static ALTERNATE: AtomicBool = AtomicBool::new(false);
static MARGINS: AtomicBool = AtomicBool::new(false);

/// Resets modes, margins, character sets, colours, keys and mouse to what a shell expects, whatever the
/// guest did. The cursor stays where it is.
const RESTORE: &[u8] = b"\x1b[!p\x1b7\x1b[r\x1b8\x1b[?47l\x1b(B\x0f\x1b[4l\x1b[20l\x1b[?5l\x1b[?69l\
\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1l\x1b>\x1b[?1000;1002;1003;1004;1005;1006;1015;2004l\x1b[<99u\x1b[>4;0m\
\x1b]8;;\x1b\\\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[0 q";

/// What leaves the alternate screen, and puts the cursor where it was before it.
const LEAVE_ALTERNATE: &[u8] = b"\x1b[?1049l";

/// What ends margins that the cursor cannot leave. It moves the cursor: to the last line.
const LEAVE_MARGINS: &[u8] = b"\x1b[r\x1b[?6l\x1b[999;1H";

/// A question that every terminal answers, after what it was asked before. No guest's passes.
pub const ASK: &[u8] = b"\x1b[5n";

/// The terminal's answer.
pub const ANSWER: &[u8] = b"\x1b[0n";

/// What restores the terminal after the output that was filtered so far.
pub fn restore() -> Vec<u8> {
    let wanted = |flag: &AtomicBool, bytes| match flag.swap(false, Ordering::Relaxed) {
        true => bytes,
        false => &[][..],
    };
    let alternate = wanted(&ALTERNATE, LEAVE_ALTERNATE);
    let margins = wanted(&MARGINS, LEAVE_MARGINS);
    [alternate, RESTORE, margins].concat()
}

/// Where in an escape sequence the output is (ECMA-48).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After the first byte of a C1 control in UTF-8.
    C1,
    Escape,
    Control,
    /// In an OSC.
    Command,
    /// In a DCS, SOS, PM or APC, which is dropped.
    String,
    /// After ESC in a string.
    StringEnd,
}

/// What is unfinished at the end of the stream is left out, or it would swallow what follows.
#[derive(Debug, Default)]
pub struct TerminalFilter {
    state: State,
    /// The sequence so far.
    held: Vec<u8>,
}

impl TerminalFilter {
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + self.held.len());
        for &byte in bytes {
            self.byte(byte, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => match byte {
                // ENQ: the terminal answers.
                0x05 => {}
                0xc2 => self.begin(State::C1, byte),
                0x1b => self.begin(State::Escape, byte),
                _ => out.push(byte),
            },
            // No text has them, and a terminal may take them for an escape sequence.
            State::C1 if (0x80..0xa0).contains(&byte) => self.drop(),
            State::C1 if (0x80..0xc0).contains(&byte) => {
                self.held.push(byte);
                self.pass(out);
            }
            // It began no character.
            State::C1 => {
                self.drop();
                self.byte(byte, out);
            }
            State::Escape => self.escape(byte, out),
            State::Control => self.control(byte, out),
            State::Command => match byte {
                0x07 => self.command(byte, out),
                0x1b => self.state = State::StringEnd,
                // It is broken off.
                0x00..0x20 => {
                    self.drop();
                    self.byte(byte, out);
                }
                _ => self.hold(byte),
            },
            State::String => match byte {
                0x1b => self.state = State::StringEnd,
                0x18 | 0x1a => self.drop(),
                _ => {}
            },
            State::StringEnd if byte == b'\\' => self.command(byte, out),
            State::StringEnd => {
                self.begin(State::Escape, 0x1b);
                self.byte(byte, out);
            }
        }
    }

    fn begin(&mut self, state: State, byte: u8) {
        self.state = state;
        self.held = vec![byte];
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() <= SEQUENCE_MAX {
            self.held.push(byte);
        }
    }

    fn drop(&mut self) {
        self.state = State::Text;
        self.held.clear();
    }

    fn pass(&mut self, out: &mut Vec<u8>) {
        self.state = State::Text;
        if self.held.len() <= SEQUENCE_MAX {
            out.append(&mut self.held);
        }
        self.held.clear();
    }

    /// After ESC.
    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'[' => self.state = State::Control,
            b']' => self.state = State::Command,
            b'P' | b'X' | b'^' | b'_' => self.state = State::String,
            RESET => return self.drop(),
            0x20..0x7f => {
                self.held.push(byte);
                return self.pass(out);
            }
            _ => return self.inside(byte, out),
        }
        self.held.push(byte);
    }

    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x20..0x40 => self.hold(byte),
            0x40..0x7f => {
                self.hold(byte);
                match is_unwanted(&self.held) {
                    true => self.drop(),
                    false => {
                        note(&self.held);
                        self.pass(out);
                    }
                }
            }
            _ => self.inside(byte, out),
        }
    }

    /// A byte that is not part of the sequence that it stands in.
    fn inside(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x05 | 0x7f => {}
            // CAN, SUB and ESC cancel it, and no sequence has bytes beyond ASCII.
            0x18 | 0x1a => self.drop(),
            0x1b => self.begin(State::Escape, byte),
            0x80.. => {
                self.drop();
                self.byte(byte, out);
            }
            // Terminals do these at once.
            _ => out.push(byte),
        }
    }

    /// At the end of an OSC, or of another string.
    fn command(&mut self, last: u8, out: &mut Vec<u8>) {
        let number = self.held.strip_prefix(b"\x1b]").map(leading_number);
        // Another C1 control may end it for the terminal.
        let has_c1 = (self.held.windows(2)).any(|pair| pair[0] == 0xc2 && pair[1] < 0xa0);
        match number.flatten() {
            // Titles, and the clipboard.
            None | Some(0..=2 | 52) => self.drop(),
            Some(_) if has_c1 => self.drop(),
            Some(_) => {
                if last == b'\\' {
                    self.hold(0x1b);
                }
                self.hold(last);
                self.pass(out);
            }
        }
    }
}

/// The number that `bytes` begin with.
fn leading_number(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let digits = &bytes[..digits.count()];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a control sequence is dropped: line wrap off, [`ASK`], and the reports of the titles.
fn is_unwanted(sequence: &[u8]) -> bool {
    let is_report = sequence.ends_with(b"t")
        && matches!(sequence.get(2..).and_then(leading_number), Some(20 | 21));
    sequence == NO_WRAP || sequence == ASK || is_report
}

/// Remembers what a control sequence has set.
fn note(sequence: &[u8]) {
    let Some((last, rest)) = sequence.split_last() else {
        return;
    };
    let Some(parameters) = rest.strip_prefix(b"\x1b[") else {
        return;
    };
    if *last == b'r' && !parameters.starts_with(b"?") {
        MARGINS.store(!parameters.is_empty(), Ordering::Relaxed);
    }
    let Some(modes) = parameters.strip_prefix(b"?") else {
        return;
    };
    for mode in modes.split(|byte| *byte == b';') {
        let flag = match leading_number(mode) {
            Some(47 | 1047 | 1049) => &ALTERNATE,
            Some(6 | 69) => &MARGINS,
            _ => continue,
        };
        match last {
            b'h' => flag.store(true, Ordering::Relaxed),
            b'l' if std::ptr::eq(flag, &ALTERNATE) => flag.store(false, Ordering::Relaxed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
        let mut filter = TerminalFilter::default();
        chunks.iter().flat_map(|chunk| filter.take(chunk)).collect()
    }

    #[test]
    fn what_the_firmware_sends_is_taken_out() {
        assert_eq!(
            filtered(&[b"\x1bc\x1b[?7l\x1b[2JSeaBIOS"]),
            b"\x1b[2JSeaBIOS"
        );
        assert_eq!(
            filtered(&[b"a\x1b[?7h\x1b[7l\x1b\x1bcb\x1b"]),
            b"a\x1b[?7h\x1b[7lb"
        );
    }

    #[test]
    fn titles_the_clipboard_strings_and_questions_are_taken_out() {
        for unwanted in [
            "\x1b]0;title\x07",
            "\x1b]2;title\x1b\\",
            "\x1b]02;title\x07",
            "\x1b];title\x07",
            "\x1b]l;title\x1b\\",
            "\x1b]52;c;ZXZpbA==\x07",
            "\x1bP+q544e\x1b\\",
            "\x1b_x\ny\x1b\\",
            "\x1b[21t",
            "\x1b[20;1t",
            "\x1b[5n",
            "\x05",
            "\u{9d}",
            "\x1b[\x18",
            "\x1b[1\x05\x1bc",
            "\x1b]8;;\u{9c}\u{9d}52;c;x\x07",
        ] {
            let text = format!("a{unwanted}b");
            assert_eq!(filtered(&[text.as_bytes()]), b"ab", "{unwanted:?}");
        }
        for wanted in [
            "\x1b[1;31mé\x1b[0m",
            "\x1b]8;;http://a/é\x1b\\link\x1b]8;;\x07",
            "\x1b(B\x0f\x1b7\x1b[8t\x1b[6n\x1b[0 q",
        ] {
            let passed = filtered(&[wanted.as_bytes()]);
            assert_eq!(passed, wanted.as_bytes(), "{wanted:?}");
        }
        // Nothing that is taken out joins what stands around it.
        assert_eq!(filtered(&[b"\x1b[\x0521t"]), b"");
        assert_eq!(filtered(&[b"\x1b\x05[21t"]), b"");
        let endless = [&b"\x1b]8;;"[..], &[b'x'; 10_000], b"\x07b"].concat();
        assert_eq!(filtered(&[&endless]), b"b");
    }

    #[test]
    fn what_was_set_is_ended_and_the_cursor_moves_only_then() {
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|at| at == part);
        let after = |output: &[u8]| {
            filtered(&[output]);
            restore()
        };
        assert_eq!(after(b"\x1b[r\x1b[?1049h\x1b[?1049l"), RESTORE);
        assert!(after(b"\x1b[?25;1049h").starts_with(LEAVE_ALTERNATE));
        assert!(after(b"\x1b[4;9r").ends_with(LEAVE_MARGINS));
        assert!(after(b"\x1b[?6h").ends_with(LEAVE_MARGINS));
        assert_eq!(after(b""), RESTORE);
        assert!(!has(RESTORE, LEAVE_ALTERNATE) && !has(RESTORE, b"H"));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            text in prop::collection::vec(
                prop::sample::select(b"\x1bc[?7lx]0;5\x07\\P\x05\xc2\x9d\n".to_vec()), 0..40),
            cut in 0_usize..40,
        ) {
            let cut = cut.min(text.len());
            let whole = filtered(&[&text]);
            prop_assert_eq!(&whole, &filtered(&[&text[..cut], &text[cut..]]));
            // Nor does anything new come out of what was taken out.
            prop_assert_eq!(&whole, &filtered(&[&whole]));
        }

        #[test]
        fn text_without_escapes_passes_unchanged(text in "[^\u{1b}\u{5}\u{80}-\u{9f}]*") {
            prop_assert_eq!(filtered(&[text.as_bytes()]), text.into_bytes());
        }
    }
}
