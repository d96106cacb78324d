//! os-release(5): assignments as a shell has them, without expansions.

/// Where the file is, in order of preference.
pub const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The value of a field, such as `ID`; the last assignment counts. `None` if it is missing or
/// empty. Bytes that are not UTF-8 are replaced, and the value ends at a NUL.
pub fn field(text: &[u8], name: &str) -> Option<String> {
    let value = text.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let line = line.trim_ascii();
        line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })?;
    let value = unquoted(&String::from_utf8_lossy(value));
    let value = value.split('\0').next().unwrap_or_default().trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Removes quotes of either sort. A backslash takes the next character as it is, except in single
/// quotes.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let quote = value.chars().next().filter(|c| "\"'".contains(*c));
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut characters = inner.unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quote != Some('\'') => text.extend(characters.next()),
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_is_read_in_every_quoting() {
        let text = b"# comment\nID=debian\n VERSION_ID=\"12\"\r\nPRETTY_NAME='Debian \"12\"'\n\
                     ID=later\nNAME=\"a \\\"b\\\"\"\nBAD=\xff\nNUL=a\0b\nEMPTY=\nID\n";
        let expected = [
            ("ID", Some("later")),
            ("VERSION_ID", Some("12")),
            ("PRETTY_NAME", Some("Debian \"12\"")),
            ("NAME", Some("a \"b\"")),
            ("BAD", Some("\u{fffd}")),
            ("NUL", Some("a")),
            ("EMPTY", None),
            ("VERSION", None),
        ];
        for (name, value) in expected {
            assert_eq!(field(text, name).as_deref(), value, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            field(&text, "ID");
            field(&[b"ID=", &text[..]].concat(), "ID");
        }
    }
}
