//! What stat(2) does not tell of files: digests of their content, and their extended attributes.

use std::fs::File;
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use sha2::{Digest, Sha256};

use super::digests::{DIRECT, Digests, hexadecimal};
use super::gather::{AT_ONCE, Gatherer, OpenFile};
use super::parents::{Parents, name, open_parent};
use super::records::Records;
use super::root::{RootDir, failed};
use crate::archive::{attributes, attributes_of};
use crate::protocol::{
    ByteString, Details, DigestKey, DigestKind, ErrorStage, PathAt, RemoteError, Response,
};

/// The longest value of an extended attribute that is passed on as it is.
const MAX_VALUE: usize = 128;

/// The most bytes of attributes that are passed on one by one. Of more, one digest is made.
const MAX_ATTRIBUTES: usize = 16 << 10;

/// The most bytes of attributes of a file that are passed on whole: far below the limit of a message.
const MAX_WHOLE: usize = 128 << 10;

/// What is wanted of which files.
pub(super) struct Asked<'a> {
    pub files: &'a [(ByteString, DigestKind)],
    pub key: &'a DigestKey,
    /// How much digests are made of at once, in bytes.
    pub most: u64,
}

/// Writes a record for each file below `root`. Fails if a batch of them has too many bytes.
pub(super) fn write(
    root: &ByteString,
    asked: &Asked,
    gatherer: &mut Gatherer,
    data: impl Write,
    opened: impl FnOnce(),
) -> Result<u64, RemoteError> {
    let root = RootDir::of_request(root.as_path())?;
    opened();
    let mut records = Records::new(data);
    let mut digests = Digests::new(*asked.key);
    let mut parents = Parents::below(&root);
    for files in asked.files.chunks(AT_ONCE) {
        let begun: Vec<_> = files
            .iter()
            .map(|(path, kind)| begin(&mut parents, path, *kind))
            .collect();
        let sizes = begun.iter().flatten().filter_map(Begun::size);
        if sizes.fold(0, u64::saturating_add) > asked.most {
            return Err(RemoteError::of(ErrorStage::File, "a digest", Errno::EFBIG));
        }
        let opened: Vec<_> = begun
            .iter()
            .map(|begun| begun.as_ref().ok()?.opened())
            .collect();
        let gathered = gatherer.read(&opened);
        for (number, ((path, kind), begun)) in files.iter().zip(begun).enumerate() {
            let content = gathered.of(number);
            let details = begun.and_then(|begun| begun.details(*kind, content, &mut digests));
            records.put(&details.unwrap_or_else(|errno| {
                let what = path.as_path().display();
                Details {
                    error: Some(RemoteError::of(ErrorStage::File, what, errno)),
                    ..Details::default()
                }
            }))?;
        }
    }
    records.finish()
}

/// The extended attributes of one file.
pub(super) fn attributes_of_path(at: &PathAt) -> Result<Response, RemoteError> {
    let root = RootDir::of_request(at.root.as_path())?;
    let path = at.path.as_path();
    let path = path.strip_prefix("/").unwrap_or(path);
    let found = open_parent(&root, path).and_then(|parent| attributes(&parent, &name(path)?));
    let found = found.map_err(|errno| failed(at, errno))?;
    let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
    if found.iter().map(size).sum::<usize>() > MAX_WHOLE {
        return Err(failed(at, Errno::E2BIG));
    }
    let found = found.into_iter();
    let found = found.map(|(name, value)| (ByteString(name), ByteString(value)));
    Ok(Response::Attributes(found.collect()))
}

/// What is known of a file before its content is read.
struct Begun {
    attributes: Vec<(ByteString, ByteString)>,
    /// A regular file, if a digest is wanted.
    file: Option<OpenFile>,
}

/// Opens a file.
fn begin<'a>(
    parents: &mut Parents<'a>,
    path: &'a ByteString,
    kind: DigestKind,
) -> Result<Begun, Errno> {
    let (directory, name) = parents.open(path.as_path())?;
    let mut file = None;
    if kind != DigestKind::Nothing {
        let stat = fstatat(directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let opened = File::from(openat(directory, &*name, flags, Mode::empty())?);
            file = Some((opened, stat));
        }
    }
    let mut attributes = match &file {
        Some((file, _)) => attributes_of(file),
        None => attributes(directory, &name),
    }?;
    attributes.sort();
    let attributes = shortened(attributes);
    Ok(Begun { attributes, file })
}

impl Begun {
    fn size(&self) -> Option<u64> {
        Some(self.file.as_ref()?.1.st_size.unsigned_abs())
    }

    /// The file, unless it is large.
    fn opened(&self) -> Option<&OpenFile> {
        let is_small = |(_, stat): &&OpenFile| stat.st_size < DIRECT;
        self.file.as_ref().filter(is_small)
    }

    fn details(
        self,
        kind: DigestKind,
        content: Option<&[u8]>,
        digests: &mut Digests,
    ) -> Result<Details, Errno> {
        Ok(Details {
            digest: match self.file {
                Some((file, stat)) => {
                    digests.of(&file, stat.st_size.unsigned_abs(), content, kind)?
                }
                None => None,
            },
            attributes: self.attributes,
            error: None,
        })
    }
}

/// Attributes by name, within limits.
fn shortened(found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(ByteString, ByteString)> {
    let short = |value: Vec<u8>| match value.len() > MAX_VALUE {
        true => format!("sha256:{}", hexadecimal(&Sha256::digest(&value))).into_bytes(),
        false => value,
    };
    let found: Vec<_> = found
        .into_iter()
        .map(|(key, value)| (key, short(value)))
        .collect();
    let bytes: usize = found
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes <= MAX_ATTRIBUTES {
        let found = found.into_iter();
        return found
            .map(|(key, value)| (ByteString(key), ByteString(value)))
            .collect();
    }
    let mut hash = Sha256::new();
    for part in found.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = format!("sha256:{}", hexadecimal(&hash.finalize()));
    vec![("*".into(), digest.into())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_many_attributes_are_passed_on_as_digests() {
        let attribute = |key: &str, length| (key.as_bytes().to_vec(), vec![b'x'; length]);
        let kept = shortened(vec![attribute("user.a", 128), attribute("user.b", 129)]);
        assert_eq!(kept[0].1.0, vec![b'x'; 128]);
        assert!(kept[1].1.0.starts_with(b"sha256:"));
        let many = |length| {
            shortened(
                (0..300)
                    .map(|n| attribute(&format!("{n}"), length))
                    .collect(),
            )
        };
        assert_eq!(many(100).len(), 1);
        assert_ne!(many(100), many(101));
    }
}
