//! Reads the keys of `--key`.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use anyhow::Context;

use crate::commands::args::keys::{KeyArg, KeyArgs, Source};
use crate::launch::Failure;
use crate::launch::keys::{Key, Keys, Passphrase};
use crate::machine::prompt::Prompt;
use crate::sys;

/// The longest key file, in bytes: cryptsetup's limit.
const LONGEST: u64 = 8 << 20;

/// Reads the keys. A terminal is asked for others.
pub(super) fn keys(args: &KeyArgs) -> Result<Keys, Failure> {
    Ok(Keys {
        prompt: Prompt::open().map(Arc::new),
        ..given(args)?
    })
}

/// Reads the keys. Nobody is asked for others.
pub(crate) fn given(args: &KeyArgs) -> Result<Keys, Failure> {
    let given = args.key.iter().map(key);
    Ok(Keys {
        given: given.collect::<Result<_, _>>()?,
        ..Keys::default()
    })
}

fn key(arg: &KeyArg) -> Result<Key, Failure> {
    let passphrases = match &arg.source {
        Source::Text(text) => vec![text.clone()],
        Source::File(path) => {
            let read = File::open(path).and_then(read);
            let what = || format!("reading the key in {}", path.display());
            without_newline(read.with_context(what)?)
        }
        Source::Descriptor(number) => {
            let file = match number {
                0 => io::stdin()
                    .lines()
                    .next()
                    .transpose()
                    .map(|line| line.unwrap_or_default().into_bytes()),
                number => sys::inherited(*number).and_then(|fd| read(fd.into())),
            };
            let what = || format!("reading the key from descriptor {number}");
            without_newline(file.with_context(what)?)
        }
    };
    Ok(Key {
        device: arg.device.clone(),
        passphrases,
    })
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 8 MiB"));
    }
    Ok(bytes)
}

/// An editor ends a line that is no part of the passphrase; in a file of random bytes it is one.
fn without_newline(bytes: Vec<u8>) -> Vec<Passphrase> {
    match bytes.strip_suffix(b"\n") {
        Some(line) => vec![Passphrase(line.to_vec()), Passphrase(bytes)],
        None => vec![Passphrase(bytes)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_tried_without_its_end_first() {
        let tried = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let all = without_newline(bytes.to_vec()).into_iter();
            all.map(|one| one.0).collect()
        };
        assert_eq!(tried(b"a\n"), [b"a".to_vec(), b"a\n".to_vec()]);
        assert_eq!(tried(b"a"), [b"a"]);
    }
}
