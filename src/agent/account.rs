//! Users and groups, as the target's own /etc/passwd and /etc/group have them. Read as text:
//! this program is linked statically, and the C library's look-up would load the target's code.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::resolve::Root;
use crate::guest::wire::{ErrorStage, RemoteError, User};

/// A user with all that a command needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// All groups, the first one included.
    pub groups: Vec<Gid>,
    /// The name, where there is one.
    pub name: Option<String>,
    /// The home directory, `/` where none is known.
    pub home: PathBuf,
    /// The shell, /bin/sh where none is known.
    pub shell: PathBuf,
}

impl Account {
    /// Looks a user up in a root.
    ///
    /// # Errors
    /// No user of this name.
    pub fn look_up(root: &Root, user: &User) -> Result<Self, RemoteError> {
        let passwd = text(root, "/etc/passwd");
        let group = text(root, "/etc/group");
        Self::find(&passwd, &group, user)
    }

    fn find(passwd: &str, group: &str, user: &User) -> Result<Self, RemoteError> {
        let lines = || passwd.lines().filter_map(Line::read);
        let found = match user {
            User::Name(name) => lines().find(|line| line.name.as_bytes() == name.0),
            User::Id { uid, .. } => lines().find(|line| line.uid == *uid),
        };
        let (uid, gid) = match (user, &found) {
            (User::Id { uid, gid }, found) => {
                let own = found.as_ref().map_or(*uid, |line| line.gid);
                (*uid, gid.unwrap_or(own))
            }
            (User::Name(_), Some(line)) => (line.uid, line.gid),
            (User::Name(name), None) => {
                return Err(RemoteError::new(
                    ErrorStage::User,
                    format!("no user {name}"),
                ));
            }
        };
        let mut groups = vec![Gid::from_raw(gid)];
        if let Some(line) = &found {
            for group in group.lines().filter_map(|text| member_of(text, line.name)) {
                if group != gid {
                    groups.push(Gid::from_raw(group));
                }
            }
        }
        let given =
            |text: &str, instead: &str| PathBuf::from(if text.is_empty() { instead } else { text });
        Ok(Self {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            groups,
            name: found.as_ref().map(|line| line.name.to_owned()),
            home: given(found.as_ref().map_or("", |line| line.home), "/"),
            shell: given(found.as_ref().map_or("", |line| line.shell), "/bin/sh"),
        })
    }
}

fn text(root: &Root, path: &str) -> String {
    let bytes = root.read_small(Path::new(path)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line of passwd(5).
struct Line<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else {
            return None;
        };
        Some(Self {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
            shell,
        })
    }
}

/// The number of the group of a line of group(5), where `name` is one of its members.
fn member_of(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let (_, _, gid, members) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    let is_member = members.split(',').any(|member| member == name);
    is_member.then(|| gid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# odd\nweb:x:33:34::/srv/web:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nwheel:x:10:root,web\naudio:x:29:webmaster\n";

    #[test]
    fn a_name_gives_its_groups_home_and_shell() {
        let web = Account::find(PASSWD, GROUP, &User::Name("web".into())).unwrap();
        assert_eq!((web.uid.as_raw(), web.gid.as_raw()), (33, 34));
        assert_eq!(web.groups, [34, 10].map(Gid::from_raw));
        assert_eq!((web.home, web.shell), ("/srv/web".into(), "/bin/sh".into()));
    }

    #[test]
    fn a_number_needs_no_line() {
        let user = |uid, gid| Account::find(PASSWD, GROUP, &User::Id { uid, gid }).unwrap();
        assert_eq!(user(7, None).groups, [7].map(Gid::from_raw));
        assert_eq!(user(33, Some(5)).groups, [5, 10].map(Gid::from_raw));
        assert_eq!(user(33, None).gid.as_raw(), 34);
        assert_eq!(user(7, None).name, None);
    }

    #[test]
    fn a_name_that_is_not_there_is_told() {
        let error = Account::find(PASSWD, GROUP, &User::Name("nobody".into())).unwrap_err();
        assert_eq!(error.text, "no user \"nobody\"");
        assert_eq!(error.step, ErrorStage::User);
    }
}
