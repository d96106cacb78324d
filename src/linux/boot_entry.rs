//! Entries of a boot loader's menu (UAPI Group, Boot Loader Specification, type 1).

/// The directory of the entries, on the partition that the boot loader reads.
pub const DIRECTORY: &str = "/loader/entries";

/// What an entry says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootEntry {
    pub version: Option<String>,
    /// The path of the kernel on its partition, or that of a unified kernel image.
    pub kernel: Option<String>,
    /// The kernel's command line.
    pub options: Vec<String>,
}

impl BootEntry {
    /// The value of `NAME=VALUE` on the command line; the last one counts.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter().rev();
        options.find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Parses the text of an entry. What is not known is skipped.
pub fn parse(text: &str) -> BootEntry {
    let mut entry = BootEntry::default();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once([' ', '\t']) else {
            continue;
        };
        let value = value.trim();
        match key {
            "version" => entry.version = Some(value.to_owned()),
            "linux" | "efi" | "uki" => entry.kernel = Some(value.to_owned()),
            // There may be several such lines.
            "options" => entry
                .options
                .extend(value.split_whitespace().map(str::to_owned)),
            _ => {}
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_and_comments_are_not() {
        let entry = parse(
            "# linux /no\ntitle Fedora\nversion\t2\nlinux   /ostree/fcos-1/vmlinuz\n\
             options root=UUID=1 ostree=/a\noptions ostree=/b quiet\nbroken\n",
        );
        assert_eq!(entry.version.as_deref(), Some("2"));
        assert_eq!(entry.kernel.as_deref(), Some("/ostree/fcos-1/vmlinuz"));
        assert_eq!(entry.option("ostree"), Some("/b"));
        assert_eq!((entry.option("quiet"), entry.option("roo")), (None, None));
    }
}
