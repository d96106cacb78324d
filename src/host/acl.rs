//! Why a file may not be opened for reading and writing: its mode and its POSIX ACL, read only
//! to explain a refusal that `open` has given already. Never decides whether something opens.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::accounts;
use crate::linux::bytes::Fields;
use crate::sys;

/// Whom an entry is for; the tags of `acl(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `user::`, the owner.
    Owner,
    /// `user:NAME:`
    User(u32),
    /// `group::`, the owning group.
    Group,
    /// `group:NAME:`
    NamedGroup(u32),
    /// `mask::`, the most that any entry but the owner's and the last gives.
    Mask,
    /// `other::`
    Other,
}

/// One entry: whom, and the three bits `rwx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is for.
    pub tag: Tag,
    /// The bits, 0 to 7.
    pub bits: u8,
}

/// What is asked for: reading and writing.
const READ_WRITE: u8 = 0o6;

impl Entry {
    fn gives_all(self) -> bool {
        self.bits & READ_WRITE == READ_WRITE
    }
}

impl std::fmt::Display for Entry {
    /// As `getfacl` writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tag {
            Tag::Owner => write!(f, "user::")?,
            Tag::User(uid) => write!(f, "user:{}:", accounts::user_name(uid))?,
            Tag::Group => write!(f, "group::")?,
            Tag::NamedGroup(gid) => write!(f, "group:{}:", accounts::group_name(gid))?,
            Tag::Mask => write!(f, "mask::")?,
            Tag::Other => write!(f, "other::")?,
        }
        let bit = |mask, letter| {
            if self.bits & mask == mask {
                letter
            } else {
                '-'
            }
        };
        write!(f, "{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x'))
    }
}

/// Reads the value of the extended attribute `system.posix_acl_access`: a version, 2, and then
/// `{ u16 tag, u16 bits, u32 id }` each, all little-endian (linux/posix_acl_xattr.h).
/// `None` where the value has another shape.
pub fn parse(value: &[u8]) -> Option<Vec<Entry>> {
    let entries = value.strip_prefix(&2_u32.to_le_bytes())?;
    if entries.len() % 8 != 0 {
        return None;
    }
    entries.chunks_exact(8).map(parse_entry).collect()
}

fn parse_entry(entry: &[u8]) -> Option<Entry> {
    let id = entry.get_le32(4)?;
    let tag = match entry.le16(0) {
        0x01 => Tag::Owner,
        0x02 => Tag::User(id),
        0x04 => Tag::Group,
        0x08 => Tag::NamedGroup(id),
        0x10 => Tag::Mask,
        0x20 => Tag::Other,
        _ => return None,
    };
    Some(Entry {
        tag,
        bits: *entry.get(2)? & 7,
    })
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The effective user.
    pub uid: u32,
    /// The effective group and the supplementary ones.
    pub groups: Vec<u32>,
}

impl Asker {
    /// This process.
    pub fn this_process() -> Self {
        let mut groups: Vec<u32> = nix::unistd::getgroups()
            .unwrap_or_default()
            .iter()
            .map(|g| g.as_raw())
            .collect();
        groups.push(nix::unistd::getegid().as_raw());
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            groups,
        }
    }
}

/// The permissions of a file.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// The owner.
    pub owner: u32,
    /// The owning group.
    pub group: u32,
    /// Whether `entries` come from an ACL; else they are the three of the mode.
    pub has_acl: bool,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// Why reading and writing was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The asker is not in the group that may.
    NotInGroup(u32),
    /// An entry of the ACL applies to the asker and gives too little.
    Entry(Entry),
    /// The entry would do, but the mask takes it away.
    Mask(Entry),
    /// There is no ACL, and the mode gives too little to the asker, and to the group as well.
    Mode,
    /// Mode and ACL allow it: a security module, or a container's rules.
    Elsewhere,
}

impl Permissions {
    /// Those of a file, symbolic links followed; `None` where it cannot be looked at.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let acl = sys::extended_attribute(path, "system.posix_acl_access").and_then(|v| parse(&v));
        Some(Self {
            owner: metadata.uid(),
            group: metadata.gid(),
            has_acl: acl.is_some(),
            entries: acl.unwrap_or_else(|| of_mode(metadata.mode())),
        })
    }

    /// Follows the access check algorithm of acl(5).
    pub fn cause(&self, asker: &Asker) -> Cause {
        let find = |tag| self.entries.iter().copied().find(|e| e.tag == tag);
        let mask = find(Tag::Mask);
        let judge = |entry: Entry| match mask {
            _ if !entry.gives_all() && self.has_acl => Cause::Entry(entry),
            _ if !entry.gives_all() => Cause::Mode,
            Some(mask) if !mask.gives_all() => Cause::Mask(mask),
            _ => Cause::Elsewhere,
        };
        if asker.uid == self.owner {
            return match find(Tag::Owner) {
                Some(e) if e.gives_all() => Cause::Elsewhere,
                Some(e) if self.has_acl => Cause::Entry(e),
                _ => Cause::Mode,
            };
        }
        if let Some(entry) = find(Tag::User(asker.uid)) {
            return judge(entry);
        }
        let group_of = |tag| match tag {
            Tag::Group => Some(self.group),
            Tag::NamedGroup(gid) => Some(gid),
            _ => None,
        };
        let mine = |e: &&Entry| group_of(e.tag).is_some_and(|g| asker.groups.contains(&g));
        let of_my_groups: Vec<Entry> = self.entries.iter().filter(mine).copied().collect();
        let best = of_my_groups
            .iter()
            .find(|e| e.gives_all())
            .or(of_my_groups.first());
        if let Some(entry) = best {
            return judge(*entry);
        }
        if find(Tag::Other).is_some_and(Entry::gives_all) {
            return Cause::Elsewhere;
        }
        match find(Tag::Group) {
            Some(e) if e.gives_all() && mask.is_none_or(Entry::gives_all) => {
                Cause::NotInGroup(self.group)
            }
            // Joining the group would not help: the entry or the mask stands in the way.
            Some(e) => judge(e),
            None => Cause::Mode,
        }
    }
}

fn of_mode(mode: u32) -> Vec<Entry> {
    let entry = |tag, shift| Entry {
        tag,
        bits: (mode >> shift) as u8 & 7,
    };
    vec![
        entry(Tag::Owner, 6),
        entry(Tag::Group, 3),
        entry(Tag::Other, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(mode: u32, acl: Option<Vec<Entry>>) -> Permissions {
        let has_acl = acl.is_some();
        let entries = acl.unwrap_or_else(|| of_mode(mode));
        Permissions {
            owner: 0,
            group: 104,
            has_acl,
            entries,
        }
    }

    fn acl(user: Option<u8>, group: u8, mask: u8) -> Option<Vec<Entry>> {
        let mut entries = vec![Entry {
            tag: Tag::Owner,
            bits: 6,
        }];
        entries.extend(user.map(|bits| Entry {
            tag: Tag::User(1000),
            bits,
        }));
        entries.push(Entry {
            tag: Tag::Group,
            bits: group,
        });
        entries.push(Entry {
            tag: Tag::Mask,
            bits: mask,
        });
        entries.push(Entry {
            tag: Tag::Other,
            bits: 0,
        });
        Some(entries)
    }

    fn stranger() -> Asker {
        Asker {
            uid: 1000,
            groups: vec![1000],
        }
    }

    fn member() -> Asker {
        Asker {
            uid: 1000,
            groups: vec![1000, 104],
        }
    }

    #[test]
    fn a_value_of_the_kernel_is_read_entry_by_entry() {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in [
            (1, 6, -1),
            (2, 4, 1000),
            (4, 0, -1),
            (0x10, 6, -1),
            (0x20, 0, -1),
        ] {
            value.extend((tag as u16).to_le_bytes());
            value.extend((bits as u16).to_le_bytes());
            value.extend(i32::to_le_bytes(id));
        }
        assert_eq!(parse(&value), acl(Some(4), 0, 6));
    }

    #[test]
    fn a_value_of_another_version_or_of_a_broken_length_is_no_acl() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[3, 0, 0, 0]), None);
        assert_eq!(parse(&[2, 0, 0, 0, 1, 0, 6]), None);
        assert_eq!(parse(&[2, 0, 0, 0, 3, 0, 6, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_stranger_lacks_the_group_when_the_group_may() {
        assert_eq!(
            permissions(0o660, None).cause(&stranger()),
            Cause::NotInGroup(104)
        );
    }

    #[test]
    fn joining_the_group_is_not_proposed_when_the_group_may_not_either() {
        assert_eq!(permissions(0o600, None).cause(&stranger()), Cause::Mode);
        let entry = Entry {
            tag: Tag::Group,
            bits: 0,
        };
        assert_eq!(
            permissions(0, acl(None, 0, 6)).cause(&stranger()),
            Cause::Entry(entry)
        );
    }

    #[test]
    fn the_groups_own_entry_denies_a_member_though_the_mode_shows_the_mask() {
        let entry = Entry {
            tag: Tag::Group,
            bits: 0,
        };
        assert_eq!(
            permissions(0, acl(None, 0, 6)).cause(&member()),
            Cause::Entry(entry)
        );
        assert_eq!(entry.to_string(), "group::---");
    }

    #[test]
    fn the_mask_denies_what_the_entry_gives() {
        let mask = Entry {
            tag: Tag::Mask,
            bits: 4,
        };
        assert_eq!(
            permissions(0, acl(Some(6), 6, 4)).cause(&stranger()),
            Cause::Mask(mask)
        );
        assert_eq!(mask.to_string(), "mask::r--");
    }

    #[test]
    fn an_entry_for_the_user_wins_over_the_groups() {
        let entry = Entry {
            tag: Tag::User(1000),
            bits: 4,
        };
        assert_eq!(
            permissions(0, acl(Some(4), 6, 6)).cause(&member()),
            Cause::Entry(entry)
        );
    }

    #[test]
    fn what_mode_and_acl_allow_is_refused_elsewhere() {
        assert_eq!(
            permissions(0o666, None).cause(&stranger()),
            Cause::Elsewhere
        );
        assert_eq!(permissions(0o660, None).cause(&member()), Cause::Elsewhere);
    }
}
