//! Why a file may not be opened for reading and writing, by its mode and its POSIX ACL. Explains a
//! refusal that `open` has given already; never decides whether something opens.
//!
//! Names are those of `/etc/passwd` and `/etc/group`, without NSS, whose shared modules a statically
//! linked program cannot load: an account that only LDAP knows is shown as its number.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::linux::bytes::Fields;
use crate::linux::passwd;
use crate::sys;

// Tags of ACL entries (linux/posix_acl.h).
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

const READ_WRITE: u8 = 0o6;

/// An entry of an ACL, or one of the three parts of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    tag: u16,
    /// `rwx`, 0 to 7.
    bits: u8,
    /// The user or group of [`USER`] and [`GROUP`].
    id: u32,
}

impl AclEntry {
    fn is_enough(self) -> bool {
        self.bits & READ_WRITE == READ_WRITE
    }
}

impl fmt::Display for AclEntry {
    /// As `getfacl` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self.tag {
            OWNER => ("user", String::new()),
            USER => ("user", user_name(self.id)),
            OWNING_GROUP => ("group", String::new()),
            GROUP => ("group", group_name(self.id)),
            MASK => ("mask", String::new()),
            _ => ("other", String::new()),
        };
        let bit = |mask, letter| if self.bits & mask == 0 { '-' } else { letter };
        let (r, w, x) = (bit(4, 'r'), bit(2, 'w'), bit(1, 'x'));
        write!(f, "{kind}:{name}:{r}{w}{x}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The user is not in this group, which has access.
    NotInGroup(u32),
    /// The user is in this group by `/etc/group`, but logged in before that.
    LoginTooOld(u32),
    /// The mode denies it, to the group as well. There is no ACL.
    Mode,
    /// This entry of the ACL applies and denies it, though `ls` may show `rw` for the group.
    AclEntry(AclEntry),
    /// This mask of the ACL denies what the entry that applies allows.
    AclMask(AclEntry),
    /// Mode and ACL allow it: a security module, or how the filesystem is mounted.
    Elsewhere,
}

impl DenyReason {
    /// Why this process may not open the file at `path`.
    pub fn of(path: &Path) -> Self {
        let Ok(metadata) = fs::metadata(path) else {
            return Self::Elsewhere;
        };
        let acl = sys::extended_attribute(path, "system.posix_acl_access").and_then(|v| parse(&v));
        let groups = nix::unistd::getgroups().unwrap_or_default();
        let groups = groups.into_iter().chain([nix::unistd::getegid()]);
        let access = Access {
            owner: metadata.uid(),
            group: metadata.gid(),
            has_acl: acl.is_some(),
            entries: acl.unwrap_or_else(|| of_mode(metadata.mode())),
            user: nix::unistd::geteuid().as_raw(),
            users_groups: groups.map(|group| group.as_raw()).collect(),
        };
        match access.reason() {
            Self::NotInGroup(gid) if is_listed(access.user, gid) => Self::LoginTooOld(gid),
            reason => reason,
        }
    }

    /// What gives access to `/dev/kvm`.
    pub fn hint(&self) -> String {
        match self {
            Self::NotInGroup(gid) => {
                let group = group_name(*gid);
                format!("`sudo usermod -aG {group} $USER`, and log in again")
            }
            Self::LoginTooOld(gid) => {
                let group = group_name(*gid);
                format!("log in again, or `newgrp {group}` in this shell")
            }
            Self::AclEntry(entry) | Self::AclMask(entry) if !matches!(entry.tag, OWNER | USER) => {
                "`sudo setfacl -b /dev/kvm`, or `sudo setfacl -m g::rw /dev/kvm`".into()
            }
            Self::Mode | Self::AclEntry(_) | Self::AclMask(_) => {
                "`sudo setfacl -m u:$USER:rw /dev/kvm`".into()
            }
            Self::Elsewhere => {
                "see whether it is mounted nodev (`findmnt -T /dev/kvm`), or a security module \
                 refuses it (`dmesg | grep -i denied`)"
                    .into()
            }
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInGroup(gid) => write!(f, "you are not in the group {}", group_name(*gid)),
            Self::LoginTooOld(gid) => {
                let group = group_name(*gid);
                write!(f, "you are in the group {group}, but not since this login")
            }
            Self::Mode => write!(f, "its mode does not give you access"),
            Self::AclEntry(entry) => write!(f, "its ACL says `{entry}`"),
            Self::AclMask(entry) => write!(f, "its ACL is limited by `{entry}`"),
            Self::Elsewhere => write!(f, "its mode and ACL allow it, something else does not"),
        }
    }
}

fn user_name(uid: u32) -> String {
    let file = fs::read("/etc/passwd").unwrap_or_default();
    let user = passwd::users(&file).find(|user| user.uid == uid);
    user.map_or(uid.to_string(), |user| lossy(user.name))
}

fn group_name(gid: u32) -> String {
    let file = fs::read("/etc/group").unwrap_or_default();
    let group = passwd::groups(&file).find(|group| group.gid == gid);
    group.map_or(gid.to_string(), |group| lossy(group.name))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Whether `/etc/group` lists the user as a member of the group, which a new login would then have.
fn is_listed(uid: u32, gid: u32) -> bool {
    let (file, user) = (fs::read("/etc/group").unwrap_or_default(), user_name(uid));
    passwd::groups(&file).any(|group| group.gid == gid && group.has_member(user.as_bytes()))
}

/// Parses the extended attribute `system.posix_acl_access`: a version, 2, and then
/// `{ u16 tag, u16 bits, u32 id }` each, little-endian (linux/posix_acl_xattr.h).
fn parse(value: &[u8]) -> Option<Vec<AclEntry>> {
    let (entries, []) = value.strip_prefix(&2_u32.to_le_bytes())?.as_chunks::<8>() else {
        return None;
    };
    let read = |entry: &[u8; 8]| {
        let (tag, bits, id) = (entry.le16(0), entry[2] & 7, entry.le32(4));
        let known = [OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER].contains(&tag);
        known.then_some(AclEntry { tag, bits, id })
    };
    entries.iter().map(read).collect()
}

fn of_mode(mode: u32) -> Vec<AclEntry> {
    let part = |(tag, shift)| {
        let bits = (mode >> shift) as u8 & 7;
        AclEntry { tag, bits, id: 0 }
    };
    [(OWNER, 6), (OWNING_GROUP, 3), (OTHER, 0)].map(part).into()
}

/// The permissions of a file, and the user who wants to open it.
struct Access {
    owner: u32,
    group: u32,
    /// Whether `entries` are those of an ACL; else they are the mode's.
    has_acl: bool,
    entries: Vec<AclEntry>,
    user: u32,
    users_groups: Vec<u32>,
}

impl Access {
    /// Follows the access check algorithm of acl(5).
    fn reason(&self) -> DenyReason {
        let find = |tag| self.entries.iter().copied().find(|entry| entry.tag == tag);
        let mask = find(MASK).filter(|mask| !mask.is_enough());
        let denied_by = |entry: AclEntry| match mask {
            _ if !entry.is_enough() && self.has_acl => DenyReason::AclEntry(entry),
            _ if !entry.is_enough() => DenyReason::Mode,
            Some(mask) if entry.tag != OWNER => DenyReason::AclMask(mask),
            _ => DenyReason::Elsewhere,
        };
        let is_mine = |entry: &&AclEntry| match entry.tag {
            OWNING_GROUP => self.users_groups.contains(&self.group),
            GROUP => self.users_groups.contains(&entry.id),
            _ => false,
        };
        let of_user = |entry: &&AclEntry| entry.tag == USER && entry.id == self.user;
        let mut of_groups = self.entries.iter().filter(is_mine);
        let applies = match self.user == self.owner {
            true => find(OWNER),
            false => (self.entries.iter().find(of_user))
                .or_else(|| of_groups.clone().find(|entry| entry.is_enough()))
                .or_else(|| of_groups.next())
                .copied(),
        };
        match (applies, find(OTHER), find(OWNING_GROUP)) {
            (Some(entry), _, _) => denied_by(entry),
            (None, Some(other), _) if other.is_enough() => DenyReason::Elsewhere,
            (None, _, Some(group)) if group.is_enough() && mask.is_none() => {
                DenyReason::NotInGroup(self.group)
            }
            // Joining the group would not help: its entry or the mask denies it as well.
            (None, _, Some(group)) => denied_by(group),
            (None, _, None) => DenyReason::Mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(tag: u16, bits: u8, id: u32) -> AclEntry {
        AclEntry { tag, bits, id }
    }

    /// What a user 1000 in these groups is told of a file of root and group 104.
    fn reason(groups: &[u32], has_acl: bool, entries: Vec<AclEntry>) -> DenyReason {
        let access = Access {
            owner: 0,
            group: 104,
            has_acl,
            entries,
            user: 1000,
            users_groups: groups.to_vec(),
        };
        access.reason()
    }

    fn acl(user: Option<u8>, group: u8, mask: u8) -> Vec<AclEntry> {
        let any = u32::MAX;
        let mut all = vec![entry(OWNER, 6, any)];
        all.extend(user.map(|bits| entry(USER, bits, 1000)));
        all.extend(
            [(OWNING_GROUP, group), (MASK, mask), (OTHER, 0)].map(|(t, b)| entry(t, b, any)),
        );
        all
    }

    const STRANGER: &[u32] = &[1000];
    const MEMBER: &[u32] = &[1000, 104];

    #[test]
    fn a_value_of_the_kernel_is_read_entry_by_entry() {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for entry in acl(Some(4), 0, 6) {
            value.extend(entry.tag.to_le_bytes());
            value.extend(u16::from(entry.bits).to_le_bytes());
            value.extend(entry.id.to_le_bytes());
        }
        assert_eq!(parse(&value), Some(acl(Some(4), 0, 6)));
    }

    #[test]
    fn a_value_of_another_version_or_of_a_broken_length_is_no_acl() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[3, 0, 0, 0]), None);
        assert_eq!(parse(&[2, 0, 0, 0, 1, 0, 6]), None);
        assert_eq!(parse(&[2, 0, 0, 0, 3, 0, 6, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_mode_denies_a_stranger_and_joining_the_group_is_proposed_only_where_it_helps() {
        for (groups, mode, expected) in [
            (STRANGER, 0o660, DenyReason::NotInGroup(104)),
            (STRANGER, 0o600, DenyReason::Mode),
            (STRANGER, 0o666, DenyReason::Elsewhere),
            (MEMBER, 0o660, DenyReason::Elsewhere),
        ] {
            assert_eq!(reason(groups, false, of_mode(mode)), expected, "{mode:o}");
        }
    }

    #[test]
    fn the_entry_or_the_mask_of_an_acl_that_denies_is_named() {
        let group = DenyReason::AclEntry(entry(OWNING_GROUP, 0, u32::MAX));
        let mask = DenyReason::AclMask(entry(MASK, 4, u32::MAX));
        let user = DenyReason::AclEntry(entry(USER, 4, 1000));
        for (groups, entries, expected) in [
            // The mode shows the mask, not the group's entry.
            (MEMBER, acl(None, 0, 6), group),
            (STRANGER, acl(None, 0, 6), group),
            (STRANGER, acl(Some(6), 6, 4), mask),
            // The user's own entry is the one that counts.
            (MEMBER, acl(Some(4), 6, 6), user),
        ] {
            assert_eq!(reason(groups, true, entries), expected);
        }
        assert_eq!(group.to_string(), "its ACL says `group::---`");
        assert_eq!(mask.to_string(), "its ACL is limited by `mask::r--`");
    }
}
