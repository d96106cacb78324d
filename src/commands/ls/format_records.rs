//! Entries for programs: JSON, one object a line, or CSV with the same columns.

use serde::Serialize;

use super::accounts::AccountNames;
use super::extras::{Extras, attributes};
use crate::protocol::{ByteString, Details, Entry, FileKind};
use crate::text::{csv, time};

pub const COLUMNS: [&str; 21] = [
    "image", "path", "type", "mode", "links", "uid", "gid", "user", "group", "size", "blocks",
    "modified", "accessed", "changed", "inode", "major", "minor", "target", "error", "sha256",
    "xattrs",
];

/// All that is known of an entry; unknown fields are null in JSON and empty in CSV.
#[derive(Debug, Serialize)]
pub struct Record {
    image: ByteString,
    /// From the image's root.
    path: ByteString,
    #[serde(rename = "type")]
    kind: Option<FileKind>,
    /// Four octal digits.
    mode: Option<String>,
    links: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    /// The user's name, if the image has one.
    user: Option<String>,
    group: Option<String>,
    size: Option<u64>,
    /// Of 512 bytes.
    blocks: Option<u64>,
    modified: Option<String>,
    accessed: Option<String>,
    changed: Option<String>,
    inode: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    target: Option<ByteString>,
    error: Option<String>,
    /// Of a regular file, if digests are wanted.
    sha256: Option<String>,
    /// Pairs of name and value, if they are wanted.
    xattrs: Option<Vec<(ByteString, ByteString)>>,
    /// The same as text.
    #[serde(skip)]
    xattrs_text: String,
}

impl Record {
    pub fn new(image: ByteString, path: Vec<u8>, entry: &Entry, names: &AccountNames) -> Self {
        let stat = entry.stat.as_ref();
        let special = stat.and_then(|stat| stat.special);
        Self {
            image,
            path: ByteString(path),
            kind: stat.map(|stat| stat.kind),
            mode: stat.map(|stat| format!("{:04o}", stat.mode)),
            links: stat.map(|stat| stat.links),
            uid: stat.map(|stat| stat.uid),
            gid: stat.map(|stat| stat.gid),
            user: stat.and_then(|stat| names.known_user(stat.uid).map(str::to_owned)),
            group: stat.and_then(|stat| names.known_group(stat.gid).map(str::to_owned)),
            size: stat.map(|stat| stat.size),
            blocks: stat.map(|stat| stat.blocks),
            modified: stat.map(|stat| time::as_rfc3339(stat.modified)),
            accessed: stat.map(|stat| time::as_rfc3339(stat.accessed)),
            changed: stat.map(|stat| time::as_rfc3339(stat.changed)),
            inode: stat.map(|stat| stat.inode),
            major: special.map(|(major, _)| major),
            minor: special.map(|(_, minor)| minor),
            target: entry.link.clone(),
            error: entry.error.as_ref().map(ToString::to_string),
            sha256: None,
            xattrs: None,
            xattrs_text: String::new(),
        }
    }

    /// The record with what else is wanted of the entry.
    pub fn with(mut self, extras: Extras, details: &Details) -> Self {
        if extras.checksum {
            self.sha256 = details.digest.clone();
        }
        if extras.xattrs {
            self.xattrs = Some(details.attributes.clone());
            self.xattrs_text = attributes(details).collect::<Vec<_>>().join(" ");
        }
        if let Some(error) = &details.error {
            self.error.get_or_insert_with(|| error.to_string());
        }
        self
    }

    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    pub fn csv(&self) -> Vec<u8> {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let kind = self.kind.map(kind_name).unwrap_or_default();
        csv::line([
            self.image.0.clone(),
            self.path.0.clone(),
            kind.into(),
            text(&self.mode),
            number(self.links).into(),
            number(self.uid.map(u64::from)).into(),
            number(self.gid.map(u64::from)).into(),
            text(&self.user),
            text(&self.group),
            number(self.size).into(),
            number(self.blocks).into(),
            text(&self.modified),
            text(&self.accessed),
            text(&self.changed),
            number(self.inode).into(),
            number(self.major).into(),
            number(self.minor).into(),
            self.target.clone().unwrap_or_default().0,
            text(&self.error),
            text(&self.sha256),
            self.xattrs_text.clone().into_bytes(),
        ])
    }
}

/// As JSON has it.
fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
        FileKind::Block => "block",
        FileKind::Character => "character",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Other => "other",
    }
}
