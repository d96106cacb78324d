//! Who an image's user and group numbers are: its own passwd and group files say.

use std::collections::HashMap;

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

/// Longer names would only push everything else off the screen.
const LONGEST: usize = 64;

impl Names {
    /// From the text of /etc/passwd and of /etc/group.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: by_number(passwd),
            groups: by_number(group),
        }
    }

    /// A user's name, else its number.
    pub fn user(&self, id: u32) -> String {
        known(&self.users, id).map_or_else(|| id.to_string(), str::to_owned)
    }

    /// A group's name, else its number.
    pub fn group(&self, id: u32) -> String {
        known(&self.groups, id).map_or_else(|| id.to_string(), str::to_owned)
    }

    /// A user's name, where there is one.
    pub fn known_user(&self, id: u32) -> Option<&str> {
        known(&self.users, id)
    }

    /// A group's name, where there is one.
    pub fn known_group(&self, id: u32) -> Option<&str> {
        known(&self.groups, id)
    }
}

fn known(names: &HashMap<u32, String>, id: u32) -> Option<&str> {
    names.get(&id).map(String::as_str)
}

/// Both files have the name first and the number third. The first line for a number counts, and
/// a name that is none, with spaces or control characters, does not.
fn by_number(text: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), _, Some(id)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (Ok(name), Ok(id)) = (std::str::from_utf8(name), std::str::from_utf8(id)) else {
            continue;
        };
        let is_name =
            (1..=LONGEST).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if let (true, Ok(id)) = (is_name, id.parse()) {
            names.entry(id).or_insert_with(|| name.to_owned());
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
        let names = Names::parse(passwd, b"root:x:0:\nadm:x:4:me\n\xff:x:5:\n");
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
