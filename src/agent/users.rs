//! Looks up a user in the /etc/passwd and /etc/group of a root directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use nix::unistd::{Gid, Uid};

use super::root::RootDir;
use crate::linux::passwd;
use crate::protocol::{ErrorStage, RemoteError, User};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// All groups, starting with `gid`.
    pub(crate) groups: Vec<Gid>,
    /// `None` if the user is not in /etc/passwd.
    pub(crate) name: Option<String>,
    /// `/` if unknown.
    pub(crate) home: OsString,
    /// `/bin/sh` if unknown.
    pub(crate) shell: OsString,
}

impl Account {
    /// Looks up a user. Fails if there is no user of that name; a number needs no entry.
    pub(crate) fn look_up(root: &RootDir, user: &User) -> Result<Self, RemoteError> {
        let text = |path| root.text(path).unwrap_or_default();
        let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
        Self::find(passwd.as_bytes(), group.as_bytes(), user)
    }

    fn find(passwd: &[u8], group: &[u8], user: &User) -> Result<Self, RemoteError> {
        let found = passwd::users(passwd).find(|entry| match user {
            User::Name(name) => entry.name == name.0,
            User::Id { uid, .. } => entry.uid == *uid,
        });
        let (uid, gid) = match (user, &found) {
            (User::Id { uid, gid }, found) => {
                let default = found.as_ref().map_or(*uid, |entry| entry.gid);
                (*uid, gid.unwrap_or(default))
            }
            (User::Name(_), Some(entry)) => (entry.uid, entry.gid),
            (User::Name(name), None) => {
                let text = format!("no user {name}");
                return Err(RemoteError::new(ErrorStage::User, text));
            }
        };
        let mut groups = vec![Gid::from_raw(gid)];
        if let Some(entry) = &found {
            let others = passwd::groups(group)
                .filter(|group| group.gid != gid && group.has_member(entry.name));
            groups.extend(others.map(|group| Gid::from_raw(group.gid)));
        }
        let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_owned());
        let home = found.map_or(&b""[..], |entry| entry.home);
        Ok(Self {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            groups,
            name: found.map(|entry| String::from_utf8_lossy(entry.name).into_owned()),
            home: owned(if home.is_empty() { b"/" } else { home }),
            shell: owned(found.map_or(b"/bin/sh", |entry| entry.shell)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n# odd\nweb:x:33:34::/srv/web:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:\nwheel:x:10:root,web\naudio:x:29:webmaster\n";

    #[test]
    fn a_name_has_groups_a_home_and_a_shell() {
        let web = Account::find(PASSWD, GROUP, &User::Name("web".into())).unwrap();
        assert_eq!((web.uid.as_raw(), web.gid.as_raw()), (33, 34));
        assert_eq!(web.groups, [34, 10].map(Gid::from_raw));
        assert_eq!((web.home, web.shell), ("/srv/web".into(), "/bin/sh".into()));
    }

    #[test]
    fn a_number_needs_no_entry() {
        let user = |uid, gid| Account::find(PASSWD, GROUP, &User::Id { uid, gid }).unwrap();
        assert_eq!(user(7, None).groups, [7].map(Gid::from_raw));
        assert_eq!(user(33, Some(5)).groups, [5, 10].map(Gid::from_raw));
        assert_eq!(user(33, None).gid.as_raw(), 34);
        assert_eq!(user(7, None).name, None);
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = Account::find(PASSWD, GROUP, &User::Name("nobody".into())).unwrap_err();
        assert_eq!(error.text, "no user \"nobody\"");
        assert_eq!(error.step, ErrorStage::User);
    }
}
