//! Names of this host's users and groups, by `/etc/passwd` and `/etc/group`. Only for hints in
//! messages: a name that only LDAP knows is its number.

use std::fs;

use crate::linux::passwd;

/// The name of a group, or its number if the file does not have it.
pub fn group_name(gid: u32) -> String {
    let file = read("/etc/group");
    let mut groups = passwd::groups(&file);
    let group = groups.find(|group| group.gid == gid);
    name_or_number(group.map(|group| group.name), gid)
}

/// The name of a user, or the number.
pub fn user_name(uid: u32) -> String {
    let file = read("/etc/passwd");
    let mut users = passwd::users(&file);
    let user = users.find(|user| user.uid == uid);
    name_or_number(user.map(|user| user.name), uid)
}

/// Whether `/etc/group` lists the user as a member of the group, so that a new login would have
/// it even if this process has not.
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
