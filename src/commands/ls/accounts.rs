//! Names of an image's users and groups, by its own passwd and group files.

use std::collections::HashMap;

use crate::linux::passwd;

#[derive(Clone, Debug, Default)]
pub struct AccountNames {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

/// Longer names are shown as numbers: they would spoil the columns.
const MAX_NAME: usize = 64;

impl AccountNames {
    /// From the text of /etc/passwd and of /etc/group.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: by_number(passwd::users(passwd).map(|user| (user.uid, user.name))),
            groups: by_number(passwd::groups(group).map(|group| (group.gid, group.name))),
        }
    }

    pub fn user(&self, id: u32) -> String {
        self.known_user(id)
            .map_or_else(|| id.to_string(), str::to_owned)
    }

    pub fn group(&self, id: u32) -> String {
        self.known_group(id)
            .map_or_else(|| id.to_string(), str::to_owned)
    }

    pub fn known_user(&self, id: u32) -> Option<&str> {
        self.users.get(&id).map(String::as_str)
    }

    pub fn known_group(&self, id: u32) -> Option<&str> {
        self.groups.get(&id).map(String::as_str)
    }
}

/// The first name of each number. Names with spaces or control characters do not count.
fn by_number<'a>(entries: impl Iterator<Item = (u32, &'a [u8])>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for (id, name) in entries {
        if name.len() <= MAX_NAME && name.iter().all(u8::is_ascii_graphic) {
            let name = String::from_utf8_lossy(name);
            names.entry(id).or_insert_with(|| name.into_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_proper_name_of_a_number_counts() {
        let passwd = b"root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\n#x\nbad\x1bname:x:7:7::/:\nme:x:1000:1000\n+::::::\n";
        let names = AccountNames::parse(passwd, b"root:x:0:\nadm:x:4:me\n\xff:x:5:\n");
        let users: Vec<_> = [0, 7, 1000].map(|id| names.user(id)).into();
        assert_eq!(users, ["root", "7", "me"]);
        let groups: Vec<_> = [0, 4, 5].map(|id| names.group(id)).into();
        assert_eq!(groups, ["root", "adm", "5"]);
        assert_eq!(
            (names.known_user(7), names.known_group(4)),
            (None, Some("adm"))
        );
    }
}
