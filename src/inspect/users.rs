//! Users that can log in, by /etc/passwd.

use serde::Serialize;

use crate::linux::passwd;

/// A user with a login shell, with or without a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub home: String,
    pub shell: String,
}

/// Programs in place of a shell that allow no login.
const NO_SHELLS: [&str; 6] = ["nologin", "false", "true", "sync", "shutdown", "halt"];

/// The users whose shell is one.
pub fn with_a_shell(passwd: &[u8]) -> Vec<User> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let users = passwd::users(passwd).filter(|user| {
        let program = user.shell.rsplit(|byte| *byte == b'/').next();
        !NO_SHELLS.iter().any(|no| Some(no.as_bytes()) == program)
    });
    let users = users.map(|user| User {
        name: text(user.name),
        uid: user.uid,
        home: text(user.home),
        shell: text(user.shell),
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shell_lets_a_user_in() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\n\
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
