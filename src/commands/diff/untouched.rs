//! Which files are taken for unchanged by what stat(2) says of them, so that their content is not read.

use std::collections::HashMap;

use crate::appliance::boot::ROOT;
use crate::protocol::{Entry, FileKind, PathAt, Stat};
use crate::session::{Session, SessionError};

/// Filesystems that store inode numbers and times of status change as the kernel set them
/// (linux/magic.h: ext2 to ext4, XFS, btrfs). FAT and exFAT store neither; a time of status change of EROFS
/// is that of the modification.
const WITH_STAMPS: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// Tells files of two sides that nobody has touched since both were one.
pub(super) struct Untouched<'a> {
    sessions: [&'a Session; 2],
    rule: Rule,
    /// By their devices, whether filesystems are [`WITH_STAMPS`]; of either side.
    filesystems: [HashMap<u64, bool>; 2],
}

/// How files are told that are the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// By their content only.
    Content,
    /// Both sides have a layer in common: by what stat(2) says.
    Related,
    /// As `Related`, if a kernel must have written that.
    Copies,
}

impl<'a> Untouched<'a> {
    pub fn new(sessions: [&'a Session; 2], rule: Rule) -> Self {
        Self {
            sessions,
            rule,
            filesystems: Default::default(),
        }
    }

    /// Whether both entries of a path are the same file, untouched.
    pub async fn is(&mut self, entries: [&Entry; 2]) -> Result<bool, SessionError> {
        let [Some(one), Some(other)] = entries.map(|entry| entry.stat.as_ref()) else {
            return Ok(false);
        };
        match self.rule {
            Rule::Content => Ok(false),
            Rule::Related => Ok(is_untouched(one, other)),
            Rule::Copies => {
                let mut has_stamps = true;
                for (side, entry) in entries.iter().enumerate() {
                    has_stamps &= self.has_stamps(side, entry).await?;
                }
                Ok(has_stamps && is_copy(one, other))
            }
        }
    }

    /// Whether a file is on a filesystem [`WITH_STAMPS`]. The first file of each in a walk is a directory; a
    /// file that is mounted alone is on none that is known.
    async fn has_stamps(&mut self, side: usize, entry: &Entry) -> Result<bool, SessionError> {
        let Some(stat) = &entry.stat else {
            return Ok(false);
        };
        let known = &mut self.filesystems[side];
        if let Some(known) = known.get(&stat.device) {
            return Ok(*known);
        }
        if stat.kind != FileKind::Directory {
            return Ok(false);
        }
        let at = PathAt::new(ROOT, &entry.path.0);
        let found = match self.sessions[side].statfs(at).await {
            Ok(found) => WITH_STAMPS.contains(&found.magic),
            Err(SessionError::Refused(_)) => false,
            Err(error) => return Err(error),
        };
        known.insert(stat.device, found);
        Ok(found)
    }
}

/// Whether two states of a file on filesystems [`WITH_STAMPS`] are copies of one. The time of the last status
/// change has a part below a second if a running kernel set it; then no other file has the same. What makes
/// filesystems without one, such as mke2fs -d, sets whole seconds, or what it is told.
fn is_copy(one: &Stat, other: &Stat) -> bool {
    one.changed.1 != 0 && is_untouched(one, other)
}

/// Whether two states of a file that were once the same are so still: the kernel changes the time of
/// the last status change with everything else.
fn is_untouched(before: &Stat, after: &Stat) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Stat {
        Stat {
            kind: FileKind::File,
            mode: 0o644,
            links: 1,
            uid: 0,
            gid: 0,
            size: 5,
            blocks: 8,
            modified: (1000, 0),
            accessed: (1, 0),
            changed: (2000, 3),
            device: 1,
            inode: 12,
            special: None,
        }
    }

    #[test]
    fn a_copy_has_the_stamp_of_a_kernel_and_the_same_in_all_else() {
        assert!(is_copy(&file(), &file()));
        let whole_seconds = Stat {
            changed: (2000, 0),
            ..file()
        };
        assert!(!is_copy(&whole_seconds, &whole_seconds));
        assert!(is_untouched(&whole_seconds, &whole_seconds));
        let changes: [fn(&mut Stat); 8] = [
            |stat| stat.changed.1 += 1,
            |stat| stat.changed.0 += 1,
            |stat| stat.modified.1 += 1,
            |stat| stat.inode += 1,
            |stat| stat.size += 1,
            |stat| stat.mode = 0o600,
            |stat| stat.gid += 1,
            |stat| stat.kind = FileKind::Fifo,
        ];
        for change in changes {
            let mut changed = file();
            change(&mut changed);
            assert!(!is_copy(&file(), &changed), "{changed:?}");
        }
        // Neither is of the content: the time of reading, and what is mounted where.
        let read = Stat {
            accessed: (9, 9),
            device: 7,
            ..file()
        };
        assert!(is_copy(&file(), &read));
    }
}
