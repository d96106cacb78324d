//! The names and members of users and groups, read from `/etc/passwd` and `/etc/group` for messages.
//! Without NSS, whose shared modules a statically linked program cannot load: an account that only
//! LDAP knows is shown as its number.

use std::fs;

use crate::linux::passwd;

/// The name of a group, else its number.
pub fn group_name(gid: u32) -> String {
    let file = read("/etc/group");
    let mut groups = passwd::groups(&file);
    let group = groups.find(|group| group.gid == gid);
    name_or_number(group.map(|group| group.name), gid)
}

/// The name of a user, else the number.
pub fn user_name(uid: u32) -> String {
    let file = read("/etc/passwd");
    let mut users = passwd::users(&file);
    let user = users.find(|user| user.uid == uid);
    name_or_number(user.map(|user| user.name), uid)
}

/// Whether `/etc/group` lists the user as a member of the group, which a new login would then have.
pub fn is_listed(uid: u32, gid: u32) -> bool {
    let user = user_name(uid);
    passwd::groups(&read("/etc/group"))
        .any(|group| group.gid == gid && group.has_member(user.as_bytes()))
}

fn read(path: &str) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

fn name_or_number(name: Option<&[u8]>, number: u32) -> String {
    name.map_or_else(
        || number.to_string(),
        |name| String::from_utf8_lossy(name).into_owned(),
    )
}
