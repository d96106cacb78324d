//! Who may log in, by /etc/passwd.

use serde::Serialize;

/// A user with a shell to log in with. Whether a password is set is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The home directory.
    pub home: String,
    /// The shell.
    pub shell: String,
}

/// Programs that stand in the place of a shell and are none.
const NO_SHELLS: [&str; 6] = ["nologin", "false", "true", "sync", "shutdown", "halt"];

/// Those of /etc/passwd whose shell is one.
pub fn with_a_shell(passwd: &str) -> Vec<User> {
    let lines = passwd
        .lines()
        .filter(|line| !line.starts_with(['#', '+', '-']));
    let users = lines.filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields[..] else {
            return None;
        };
        // passwd(5): an empty field is /bin/sh.
        let shell = if shell.is_empty() { "/bin/sh" } else { shell };
        let program = shell.rsplit('/').next().unwrap_or(shell);
        let is_shell = !name.is_empty() && !NO_SHELLS.contains(&program);
        Some(User {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
        .filter(|_| is_shell)
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shell_lets_a_user_in() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
                      sync:x:4:65534:sync:/bin:/bin/sync\n\
                      bad line\n\
                      me:x:1000:1000:Me,,,:/home/me:\n\
                      big:x:99999999999:1::/:/bin/sh\n\
                      +::::::\n\
                      #no:x:2:2::/:/bin/sh\n\
                      _lp:*:26:26::/var/spool:/usr/bin/false\n";
        let users = with_a_shell(passwd);
        let seen: Vec<_> = users
            .iter()
            .map(|u| (&u.name[..], u.uid, &u.shell[..]))
            .collect();
        assert_eq!(seen, [("root", 0, "/bin/bash"), ("me", 1000, "/bin/sh")]);
    }
}
