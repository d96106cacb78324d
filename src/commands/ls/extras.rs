//! What `ls` shows besides stat(2): digests of files, extended attributes, all times.

use crate::protocol::{ByteString, Details, DigestKey, DigestKind};
use crate::session::{Session, SessionError};

/// What is shown of each entry besides the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The SHA-256 of regular files.
    pub checksum: bool,
    pub xattrs: bool,
    /// All three times, in full.
    pub times: bool,
}

/// The most paths, and bytes of paths, in one request: far below the limit of a request.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 128 << 10;

/// The details of files, in the order of `paths`. There are none of a path that is `None`.
pub async fn details(
    session: &Session,
    root: &str,
    paths: Vec<Option<ByteString>>,
    digests: DigestKind,
) -> Result<Vec<Details>, SessionError> {
    let mut all = vec![Details::default(); paths.len()];
    let (mut batch, mut numbers, mut bytes) = (Vec::new(), Vec::new(), 0);
    let count = paths.len();
    for (number, path) in paths.into_iter().enumerate() {
        if let Some(path) = path {
            bytes += path.0.len();
            batch.push((path, digests));
            numbers.push(number);
        }
        let is_full = batch.len() == BATCH || bytes >= BATCH_BYTES || number + 1 == count;
        if is_full && !batch.is_empty() {
            let found = session
                .details(root, std::mem::take(&mut batch), DigestKey::default())
                .await?;
            for (number, details) in numbers.drain(..).zip(found) {
                all[number] = details;
            }
            bytes = 0;
        }
    }
    Ok(all)
}

/// The attributes as text: `NAME=VALUE`, bytes that are not printable escaped.
pub fn attributes(details: &Details) -> impl Iterator<Item = String> {
    let attributes = details.attributes.iter();
    attributes.map(|(name, value)| format!("{}={}", name.0.escape_ascii(), value.0.escape_ascii()))
}
