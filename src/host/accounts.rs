//! The names and members of users and groups, read from `/etc/passwd` and `/etc/group` for messages.
//! Without NSS, whose shared modules a statically linked program cannot load: an account that only
//! LDAP knows is shown as its number.

use std::path::Path;

/// The name of a group, else its number.
pub fn group_name(gid: u32) -> String {
    name_in(&read("/etc/group"), gid)
}

/// The name of a user, else the number.
pub fn user_name(uid: u32) -> String {
    name_in(&read("/etc/passwd"), uid)
}

/// Whether `/etc/group` lists the user as a member of the group, which a new login would then have.
pub fn is_listed(uid: u32, gid: u32) -> bool {
    is_member(&read("/etc/group"), &user_name(uid), gid)
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Both files are `name:password:number:…`, one a line.
fn name_in(file: &str, number: u32) -> String {
    let number = number.to_string();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number && !name.is_empty()).then(|| name.to_owned())
    };
    file.lines().find_map(of_line).unwrap_or(number)
}

/// A line of group(5) is `name:password:gid:member,member`.
fn is_member(file: &str, user: &str, gid: u32) -> bool {
    file.lines().any(|line| {
        let fields: Vec<_> = line.split(':').collect();
        matches!(fields[..], [_, _, number, members]
            if number == gid.to_string() && members.split(',').any(|m| m == user))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "root:x:0:\nkvm:x:104:ada,bob\nodd\n";

    #[test]
    fn a_number_the_file_knows_has_its_name_and_another_stays_a_number() {
        assert_eq!(name_in(GROUP, 104), "kvm");
        assert_eq!(name_in(GROUP, 7), "7");
    }

    #[test]
    fn a_member_is_listed_by_its_whole_name() {
        assert!(is_member(GROUP, "bob", 104));
        assert!(!is_member(GROUP, "bo", 104));
        assert!(!is_member(GROUP, "bob", 0));
    }
}
