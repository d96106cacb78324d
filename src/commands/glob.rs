//! Patterns in `IMAGE:PATH`, as a shell has them: `*`, `?` and `[...]` match within one name, and a
//! leading dot only by a dot. They are matched against what the image's directories list. A path that
//! exists as it is typed is no pattern.

use super::image_path::ImagePath;
use crate::appliance::boot::ROOT;
use crate::inspect::image_files::ImageFiles;
use crate::protocol::{ByteString, ErrorStage, FileKind, PathAt, RemoteError};
use crate::session::{Session, SessionError};

/// The most paths that a pattern stands for. More are an error.
const MOST: usize = 100_000;

/// Whether a path may be a pattern.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The paths that are meant, in the order of the arguments and sorted within each. A pattern that matches
/// nothing stays as it is: it names no file, and is reported as one that is not there.
pub async fn expand(
    session: &Session,
    places: &[ImagePath],
) -> Result<Vec<ImagePath>, SessionError> {
    let mut all = Vec::new();
    for place in places {
        let found = match is_pattern(&place.path) && !exists(session, &place.path).await? {
            true => matches(session, &place.path).await?,
            false => Vec::new(),
        };
        if found.is_empty() {
            all.push(place.clone());
        }
        all.extend(found.into_iter().map(|path| ImagePath {
            path,
            ..place.clone()
        }));
    }
    Ok(all)
}

async fn exists(session: &Session, path: &[u8]) -> Result<bool, SessionError> {
    match session.stat(PathAt::new(ROOT, path), false).await {
        Ok(_) => Ok(true),
        Err(SessionError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn matches(session: &Session, pattern: &[u8]) -> Result<Vec<Vec<u8>>, SessionError> {
    let files = ImageFiles::new(session, ROOT, false);
    let wants_directory = pattern.ends_with(b"/");
    let parts = pattern.split(|byte| *byte == b'/');
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    let mut found = vec![Vec::new()];
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let mut next = Vec::new();
        for directory in found {
            if !is_pattern(part) {
                let path = [&directory, &b"/"[..], part].concat();
                if exists(session, &path).await? {
                    next.push(path);
                }
                continue;
            }
            let entries = files.list([&directory, &b"/"[..]].concat()).await?;
            let entries = entries.iter().filter(|entry| {
                let kind = entry.stat.as_ref().map(|stat| stat.kind);
                let may_lead_on = matches!(kind, Some(FileKind::Directory | FileKind::Link));
                may_lead_on || is_last && !wants_directory
            });
            let names = entries.map(|entry| &entry.path.0);
            let names = names.filter(|name| !name.contains(&b'/') && is_match(part, name));
            next.extend(names.map(|name| [&directory, &b"/"[..], name].concat()));
            if next.len() > MOST {
                return Err(too_many(pattern));
            }
        }
        found = next;
    }
    if wants_directory {
        found.iter_mut().for_each(|path| path.push(b'/'));
    }
    Ok(found)
}

fn too_many(pattern: &[u8]) -> SessionError {
    let pattern = ByteString(pattern.to_vec());
    let text = format!("{pattern} stands for more than {MOST} paths");
    SessionError::Refused(RemoteError::new(ErrorStage::Request, text))
}

/// Whether a pattern without slashes matches a name.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // The last `*`, and where in the name what it stands for ends.
    let (mut at, mut from, mut star) = (0, 0, None);
    while at < name.len() {
        match one(&pattern[from..], name[at]) {
            Some(length) => (at, from) = (at + 1, from + length),
            None if pattern.get(from) == Some(&b'*') => {
                star = Some((from + 1, at));
                from += 1;
            }
            None => {
                let Some((behind, stood)) = star else {
                    return false;
                };
                star = Some((behind, stood + 1));
                (from, at) = (behind, stood + 1);
            }
        }
    }
    pattern[from..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element if that matches one byte and is no `*`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'*', ..] | [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((length, is_in)) => is_in.then_some(1 + length),
            // Without its end it is a character as others are.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// The length of a set, up to and with its bracket, and whether a byte is in it.
fn set(rest: &[u8], byte: u8) -> Option<(usize, bool)> {
    let is_negated = matches!(rest.first(), Some(b'!' | b'^'));
    let start = usize::from(is_negated);
    // A bracket that comes first is in the set.
    let end = rest.iter().skip(start + 1).position(|byte| *byte == b']')? + start + 1;
    let (members, mut is_in, mut at) = (&rest[start..end], false, 0);
    while at < members.len() {
        match members[at..] {
            [low, b'-', high, ..] => {
                is_in |= (low..=high).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                is_in |= member == byte;
                at += 1;
            }
            [] => break,
        }
    }
    Some((end + 1, is_in != is_negated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**", "abc", true),
        ] {
            let found = is_match(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    proptest! {
        /// A hostile name must not make it take long: the work is at most the product of the lengths.
        #[test]
        fn any_name_matches_itself_and_a_star(name in "[a-z\\-.]{1,40}", cut in 0_usize..40) {
            prop_assert!(is_match(name.as_bytes(), name.as_bytes()));
            let cut = cut.min(name.len());
            let pattern = format!("{}*", &name[..cut]);
            prop_assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), cut > 0 || !name.starts_with('.'));
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, name: Vec<u8>) {
            is_match(&pattern, &name);
        }
    }
}
