//! Users and groups by the text of passwd(5) and group(5).
//!
//! Never asks NSS: this program is linked statically, so the C library would have to load shared
//! modules for that, those of the target's root among them. Malformed lines are skipped, and so
//! are the `+` and `-` lines of NIS.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// The login name, not empty.
    pub name: &'a [u8],
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The home directory; empty if the line has none.
    pub home: &'a [u8],
    /// The shell; `/bin/sh` if the line has none, as passwd(5) says.
    pub shell: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub name: &'a [u8],
    pub gid: u32,
    members: &'a [u8],
}

impl Group<'_> {
    /// Whether the user is listed as a member. The user's primary group need not list it.
    pub fn has_member(&self, user: &[u8]) -> bool {
        self.members
            .split(|byte| *byte == b',')
            .any(|one| one == user)
    }
}

pub fn users(passwd: &[u8]) -> impl Iterator<Item = User<'_>> {
    lines(passwd).filter_map(|mut fields| {
        let mut next = || fields.next().unwrap_or_default();
        let (name, _, uid, gid, _, home, shell) =
            (next(), next(), next(), next(), next(), next(), next());
        Some(User {
            name,
            uid: number(uid)?,
            gid: number(gid)?,
            home,
            shell: if shell.is_empty() { b"/bin/sh" } else { shell },
        })
    })
}

pub fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(group).filter_map(|mut fields| {
        let mut next = || fields.next().unwrap_or_default();
        let (name, _, gid, members) = (next(), next(), next(), next());
        Some(Group {
            name,
            gid: number(gid)?,
            members,
        })
    })
}

/// The fields of each line that may be an entry.
fn lines(text: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines =
        lines.filter(|line| !matches!(line.first(), None | Some(b'#' | b'+' | b'-' | b':')));
    lines.map(|line| line.split(|byte| *byte == b':'))
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_are_read_and_malformed_lines_skipped() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\n# comment\nbad line\n+::::::\n\
                       -no:x:1:1::/:\n:x:2:2::/:\nbig:x:99999999999:1::/:/bin/sh\n\
                       \xff:x:5:6::/h\xff:\nshort:x:7:8";
        let users: Vec<_> = users(passwd).collect();
        assert_eq!(users.len(), 3);
        let root = users[0];
        assert_eq!((root.name, root.home), (&b"root"[..], &b"/root"[..]));
        assert_eq!((root.uid, root.gid, root.shell), (0, 0, &b"/bin/bash"[..]));
        assert_eq!(
            (users[1].home, users[1].shell),
            (&b"/h\xff"[..], &b"/bin/sh"[..])
        );
        assert_eq!((users[2].gid, users[2].home), (8, &b""[..]));
    }

    #[test]
    fn a_member_is_listed_by_its_full_name() {
        let group = b"root:x:0:\nkvm:x:104:ada,bob\nodd\n";
        let groups: Vec<_> = groups(group).collect();
        assert_eq!((groups[1].name, groups[1].gid), (&b"kvm"[..], 104));
        assert!(groups[1].has_member(b"bob") && !groups[1].has_member(b"bo"));
        assert!(!groups[0].has_member(b"bob"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            users(&text).for_each(drop);
            groups(&text).for_each(drop);
        }
    }
}
