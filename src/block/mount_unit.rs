//! Parses mount units of systemd (systemd.mount(5)) into what a line of fstab would say.

use super::fstab::{FstabEntry, unescaped};

/// The mount that the unit called `name` describes, by its text and that of its drop-ins, in
/// order. `None` without a device.
pub fn parse(name: &str, text: &str) -> Option<FstabEntry> {
    let value = |name| field(text, name);
    let options = value("Options").unwrap_or_default();
    let target = match value("Where") {
        Some(target) => target,
        None => path_of(name.strip_suffix(".mount")?),
    };
    Some(FstabEntry {
        source: value("What")?,
        target,
        kind: value("Type").unwrap_or_else(|| "auto".to_owned()),
        options: options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// The last assignment in the section `[Mount]`; `None` if it is empty. A backslash at the end of
/// a line joins it with the next.
fn field(text: &str, name: &str) -> Option<String> {
    let text = text.replace("\\\n", " ");
    let mut is_mount = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_mount = line == "[Mount]";
        } else if is_mount
            && let Some((key, value)) = line.split_once('=')
            && key.trim_end() == name
        {
            // `%%` stands for a percent sign.
            let value = value.trim().trim_matches('"').replace("%%", "%");
            found = (!value.is_empty()).then_some(value);
        }
    }
    found
}

/// The path that the name of a unit stands for (systemd-escape(1)): `home-my\x2duser` is
/// `/home/my-user`.
fn path_of(name: &str) -> String {
    let path = name.replace('-', "/");
    let path = unescaped(&path, |digits| {
        let digits = std::str::from_utf8(digits.strip_prefix(b"x")?).ok()?;
        u8::from_str_radix(digits, 16)
            .ok()
            .filter(|byte| *byte != 0)
    });
    format!("/{}", path.trim_start_matches('/'))
}

/// The name of the unit that mounts `path`.
pub fn name_of(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let escape = |part: &str| {
        let bytes = part.bytes().enumerate().map(|(place, byte)| match byte {
            b'.' if place == 0 => "\\x2e".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("\\x{other:02x}"),
        });
        bytes.collect::<String>()
    };
    let parts: Vec<_> = parts.map(escape).collect();
    format!(
        "{}.mount",
        if parts.is_empty() {
            "-".to_owned()
        } else {
            parts.join("-")
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_says_what_a_line_of_fstab_does() {
        let text = "[Unit]\nDescription=What=no\n\n[Mount]\nWhat = /dev/disk/by-label/a\\x20b\n\
                    Where=/home\nType=ext4\nOptions=noatime,\\\nro\n[Install]\nWantedBy=local-fs.target\n";
        let entry = parse("home.mount", text).unwrap();
        assert_eq!(entry.source, "/dev/disk/by-label/a\\x20b");
        assert_eq!((&*entry.target, &*entry.kind), ("/home", "ext4"));
        assert_eq!(entry.options[0], "noatime");
        // A drop-in comes later, and an empty value takes one back.
        let changed = format!("{text}\n[Mount]\nWhat=/dev/sdb1\nType=\n");
        let entry = parse("home.mount", &changed).unwrap();
        assert_eq!((&*entry.source, &*entry.kind), ("/dev/sdb1", "auto"));
        assert_eq!(parse("home.mount", "[Mount]\nWhere=/home\n"), None);
        let named = parse("var-my\\x2ddata.mount", "[Mount]\nWhat=x\n").unwrap();
        assert_eq!(named.target, "/var/my-data");
    }

    proptest! {
        #[test]
        fn a_path_comes_back_from_the_name_of_its_unit(path in "(/[a-z .\\\\-]{1,6}){1,3}") {
            prop_assert_eq!(path_of(name_of(&path).strip_suffix(".mount").unwrap()), path);
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(name in ".{0,20}", text in "(?s).{0,200}") {
            parse(&name, &text);
        }
    }
}
