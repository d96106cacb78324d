//! `--key`: where the keys of encrypted volumes come from.

use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::launch::keys::Passphrase;

/// The keys of encrypted volumes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub struct KeyArgs {
    /// The key of an encrypted volume (repeatable), of all if no DEVICE or UUID names one: file:PATH,
    /// fd:N, or key:TEXT, which other users of this host can read
    #[arg(long, value_name = "[DEVICE:]KEY", value_parser = parse)]
    pub(crate) key: Vec<KeyArg>,
}

impl KeyArgs {
    /// Whether a key is to be read from standard input.
    pub(crate) fn read_input(&self) -> bool {
        let mut sources = self.key.iter().map(|key| &key.source);
        sources.any(|source| *source == Source::Descriptor(0))
    }
}

/// A key as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyArg {
    pub(crate) device: Option<String>,
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Text(Passphrase),
    File(PathBuf),
    Descriptor(RawFd),
}

/// `[DEVICE:]file:PATH`, and so on. The first `file:`, `fd:` or `key:` at the start or behind a colon
/// counts.
fn parse(text: &str) -> Result<KeyArg, String> {
    let starts = [0].into_iter();
    let starts = starts.chain(text.match_indices(':').map(|(at, _)| at + 1));
    for at in starts {
        let (name, rest) = text.split_at(at);
        let Some((kind, value)) = rest.split_once(':') else {
            continue;
        };
        let source = match kind {
            "key" => Source::Text(Passphrase(value.into())),
            "file" if value.is_empty() => return Err("there is no path after file:".to_owned()),
            "file" => Source::File(value.into()),
            "fd" => match value.parse() {
                Ok(number) if number >= 0 => Source::Descriptor(number),
                _ => return Err(format!("fd:{value} is no number of a descriptor")),
            },
            _ => continue,
        };
        let device = name.strip_suffix(':').filter(|name| *name != "all");
        return Ok(KeyArg {
            device: device.map(str::to_owned),
            source,
        });
    }
    Err("a key is file:PATH, fd:N or key:TEXT, with DEVICE: in front if it is for one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_source_and_perhaps_a_device() {
        let parsed = |text: &str| parse(text).map(|key| (key.device, key.source));
        let text = |text: &str| Source::Text(Passphrase(text.into()));
        let device = |name: &str| Some(name.to_owned());
        for (typed, wanted) in [
            ("key:a:b", (None, text("a:b"))),
            ("key:", (None, text(""))),
            ("all:key:x", (None, text("x"))),
            (
                "/dev/vda2:key:file:x",
                (device("/dev/vda2"), text("file:x")),
            ),
            ("file:/a:b", (None, Source::File("/a:b".into()))),
            ("UUID=1-2:fd:3", (device("UUID=1-2"), Source::Descriptor(3))),
            (
                "/dev/a:b:file:c",
                (device("/dev/a:b"), Source::File("c".into())),
            ),
        ] {
            assert_eq!(parsed(typed), Ok(wanted), "{typed}");
        }
        for wrong in [
            "",
            "secret",
            "/dev/vda2",
            "fd:x",
            "fd:-1",
            "file:",
            "keys:x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
