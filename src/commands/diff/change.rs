//! What differs between two states of a file. Pure.

use serde::{Serialize, Serializer};

use crate::protocol::{ByteString, Entry, FileKind, Stat};
use crate::rpc::changes::{Aspect, ChangeKind};
use crate::text::time;

/// One path that was added, removed or modified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The device of the filesystem, if the system does not mount it.
    pub filesystem: Option<String>,
    /// From the root, or from the top of that filesystem.
    pub path: ByteString,
    pub change: ChangeKind,
    /// In what a modified file differs.
    pub what: Vec<Aspect>,
    pub before: Option<FileState>,
    pub after: Option<FileState>,
    /// The content as a unified diff, if that was asked for and the file is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What is known of a file on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileState {
    #[serde(rename = "type")]
    pub kind: Option<FileKind>,
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    #[serde(serialize_with = "rfc3339")]
    pub modified: (i64, u32),
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ByteString>,
    /// Major and minor number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u64, u64)>,
    /// A digest that tells whether contents of the same size are equal.
    #[serde(skip)]
    pub keyed: Option<String>,
    /// Known of modified files, if it is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Known of modified files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(ByteString, ByteString)>,
}

/// Four digits, as `ls --json` has them.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

fn rfc3339<S: Serializer>(modified: &(i64, u32), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::as_rfc3339(*modified))
}

impl FileState {
    pub fn of(entry: &Entry) -> Self {
        let Some(stat) = &entry.stat else {
            return Self::default();
        };
        Self {
            kind: Some(stat.kind),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            modified: stat.modified,
            target: entry.link.clone(),
            device: stat.special,
            keyed: None,
            sha256: None,
            xattrs: Vec::new(),
        }
    }

    pub fn is_file(&self) -> bool {
        self.kind == Some(FileKind::File)
    }
}

/// Whether two states of a file that were once the same are so still: the kernel changes the time of
/// the last status change with everything else.
pub fn is_untouched(before: &Stat, after: &Stat) -> bool {
    let stamp = |stat: &Stat| {
        let size = (stat.kind == FileKind::File).then_some(stat.size);
        let owner = (stat.mode, stat.uid, stat.gid);
        (
            stat.kind,
            stat.inode,
            stat.changed,
            stat.modified,
            size,
            owner,
        )
    };
    stamp(before) == stamp(after)
}

/// In what two states differ, as far as it is known. Two regular files of one size without digests do
/// not differ in content here.
pub fn aspects(before: &FileState, after: &FileState) -> Vec<Aspect> {
    if before.kind != after.kind {
        return vec![Aspect::Type];
    }
    let is_file = before.is_file();
    let other_size = is_file && before.size != after.size;
    let digests = |state: &'_ FileState| (state.keyed.clone(), state.sha256.clone());
    let other_content = other_size || is_file && digests(before) != digests(after);
    // The mode of a symbolic link means nothing.
    let other_mode = before.kind != Some(FileKind::Link) && before.mode != after.mode;
    let found = [
        (Aspect::Mode, other_mode),
        (
            Aspect::Owner,
            (before.uid, before.gid) != (after.uid, after.gid),
        ),
        (Aspect::Size, other_size),
        (Aspect::Content, other_content),
        (Aspect::Link, before.target != after.target),
        (Aspect::Device, before.device != after.device),
        (Aspect::Xattrs, before.xattrs != after.xattrs),
        (Aspect::Times, before.modified != after.modified),
    ];
    let found = found.into_iter().filter(|(_, differs)| *differs);
    found.map(|(aspect, _)| aspect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> FileState {
        FileState {
            kind: Some(FileKind::File),
            mode: 0o644,
            keyed: Some("0".to_owned()),
            ..FileState::default()
        }
    }

    #[test]
    fn each_aspect_is_found_alone() {
        let changed = |change: fn(&mut FileState)| {
            let mut after = file();
            change(&mut after);
            aspects(&file(), &after)
        };
        assert_eq!(changed(|_| {}), []);
        assert_eq!(changed(|file| file.mode = 0o600), [Aspect::Mode]);
        assert_eq!(changed(|file| file.gid = 1), [Aspect::Owner]);
        assert_eq!(changed(|file| file.keyed = None), [Aspect::Content]);
        assert_eq!(
            changed(|file| file.size = 1),
            [Aspect::Size, Aspect::Content]
        );
        assert_eq!(changed(|file| file.modified = (1, 0)), [Aspect::Times]);
        let xattr = |file: &mut FileState| file.xattrs = vec![("user.a".into(), "b".into())];
        assert_eq!(changed(xattr), [Aspect::Xattrs]);
        // A file that has become something else has no properties to compare.
        let fifo = |file: &mut FileState| (file.kind, file.mode) = (Some(FileKind::Fifo), 0);
        assert_eq!(changed(fifo), [Aspect::Type]);
    }

    #[test]
    fn what_is_of_no_meaning_is_not_compared() {
        let of = |kind, size, mode| FileState {
            kind: Some(kind),
            size,
            mode,
            ..FileState::default()
        };
        let directory = |size| of(FileKind::Directory, size, 0o755);
        assert_eq!(aspects(&directory(1), &directory(2)), []);
        let link = |mode| of(FileKind::Link, 3, mode);
        assert_eq!(aspects(&link(0o777), &link(0o755)), []);
    }
}
