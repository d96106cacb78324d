//! Parses fstab(5). Malformed lines are skipped.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FstabEntry {
    /// The device, as the line names it.
    pub source: String,
    pub target: String,
    pub kind: String,
    /// The options, split at commas.
    pub options: Vec<String>,
}

impl FstabEntry {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|other| other == option)
    }

    /// The value of the option `NAME=VALUE`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

const MAX_ENTRIES: usize = 128;

/// Parses the lines that have at least three fields.
pub fn parse(text: &str) -> Vec<FstabEntry> {
    let lines = text.lines().filter_map(|line| {
        let line = line.trim();
        let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
        let source = fields.next().filter(|field| !field.starts_with('#'))?;
        let (target, kind) = (fields.next()?, fields.next()?);
        let options = fields.next().unwrap_or_default().split(',');
        let source = unquoted(source);
        (!source.is_empty()).then(|| FstabEntry {
            source: unescaped(&source, octal),
            target: unescaped(target, octal),
            kind: kind.to_owned(),
            options: options
                .filter(|option| !option.is_empty())
                .map(|option| unescaped(option, octal))
                .collect(),
        })
    });
    lines.take(MAX_ENTRIES).collect()
}

/// `UUID="..."` and `UUID='...'` are the same without the quotes.
fn unquoted(source: &str) -> String {
    let tag = source.split_once('=');
    let value = tag.and_then(|(_, value)| {
        let quote = value.chars().next().filter(|c| "\"'".contains(*c))?;
        value.strip_prefix(quote)?.strip_suffix(quote)
    });
    match (tag, value) {
        (Some((tag, _)), Some(value)) => format!("{tag}={value}"),
        _ => source.to_owned(),
    }
}

/// Decodes escapes of four characters: a backslash, and three of which `decode` makes a byte.
pub(crate) fn unescaped(field: &str, decode: fn(&[u8; 3]) -> Option<u8>) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        match digits.and_then(decode) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `\040` is a space: a byte in three octal digits (getmntent(3)).
fn octal(digits: &[u8; 3]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok().filter(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_and_short_lines_are_skipped_and_escapes_decoded() {
        let entries = parse(
            "# comment\n\n  /dev/sda1\t/  ext4 rw,noatime 0 1\nUUID=x /a\\040b vfat\n\
             short line\nnone none swap sw\n",
        );
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].options, ["rw", "noatime"]);
        assert_eq!(
            (&*entries[1].target, &entries[1].options[..]),
            ("/a b", &[][..])
        );
    }

    #[test]
    fn the_value_of_a_tag_may_have_quotes_of_either_sort() {
        for source in ["LABEL=it's", "LABEL=\"it's\"", "LABEL='it\\047s'"] {
            let entries = parse(&format!("{source} / ext4"));
            assert_eq!(entries[0].source, "LABEL=it's", "{source}");
        }
    }

    #[test]
    fn option_values_are_found() {
        let entries = parse("LABEL=x / btrfs compress=zstd:1,subvol=@,ro 0 0");
        assert_eq!(entries[0].value("subvol"), Some("@"));
        assert_eq!(entries[0].value("sub"), None);
        assert!(entries[0].has("ro"));
    }

    proptest! {
        #[test]
        fn any_text_parses_without_a_panic_or_empty_fields(text in "(?s).{0,400}") {
            for entry in parse(&text.replace('\0', "")) {
                prop_assert!(!entry.source.contains('\0') && !entry.target.contains('\0'));
                prop_assert!(!entry.source.is_empty() && !entry.target.is_empty());
            }
        }
    }
}
