//! The init system.

use super::image_files::ImageFiles;
use crate::session::SessionError;

/// Files that only one init system has.
const FILES: [&str; 12] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/sbin/openrc",
    "/sbin/openrc-init",
    "/usr/bin/runit",
    "/sbin/runit",
    "/usr/bin/s6-svscan",
    "/sbin/initctl",
    "/etc/init/rc.conf",
    "/etc/inittab",
    "/etc/dinit.d",
];

/// The init system's name; `None` if there is none.
pub async fn system(files: ImageFiles<'_>) -> Result<Option<&'static str>, SessionError> {
    let link = files.link("/sbin/init").await?;
    let mut found = Vec::new();
    for file in FILES {
        found.extend(files.stat(file).await?.map(|_| file));
    }
    Ok(decide(link.as_deref(), &found))
}

/// By the target of /sbin/init and by those of [`FILES`] that exist.
fn decide(link: Option<&str>, found: &[&str]) -> Option<&'static str> {
    let has = |file| found.contains(&file);
    let target = link.and_then(|link| link.rsplit('/').next());
    let openrc = has("/sbin/openrc") || has("/sbin/openrc-init");
    match target {
        Some("systemd") => return Some("systemd"),
        Some("openrc-init") => return Some("openrc"),
        Some("runit" | "runit-init") => return Some("runit"),
        Some("dinit") => return Some("dinit"),
        Some("s6-linux-init" | "s6-svscan") => return Some("s6"),
        Some("upstart") => return Some("upstart"),
        Some("busybox") if !openrc => return Some("busybox"),
        _ => {}
    }
    if openrc {
        Some("openrc")
    } else if has("/sbin/init") && has("/etc/init/rc.conf") && has("/sbin/initctl") {
        Some("upstart")
    } else if has("/sbin/init") && has("/etc/inittab") {
        Some("sysvinit")
    } else if has("/usr/lib/systemd/systemd") || has("/lib/systemd/systemd") {
        // Debian's has no /sbin/init without the package systemd-sysv, and boots by init=.
        Some("systemd")
    } else if has("/usr/bin/runit") || has("/sbin/runit") {
        Some("runit")
    } else if has("/etc/dinit.d") {
        Some("dinit")
    } else if has("/usr/bin/s6-svscan") {
        Some("s6")
    } else {
        has("/sbin/init").then_some("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_init_says_most_and_files_the_rest() {
        let init = "/sbin/init";
        assert_eq!(
            decide(Some("../lib/systemd/systemd"), &[init]),
            Some("systemd")
        );
        assert_eq!(
            decide(Some("/bin/busybox"), &[init, "/sbin/openrc"]),
            Some("openrc")
        );
        assert_eq!(
            decide(Some("/bin/busybox"), &[init, "/etc/inittab"]),
            Some("busybox")
        );
        assert_eq!(decide(None, &[init, "/etc/inittab"]), Some("sysvinit"));
        assert_eq!(
            decide(None, &[init, "/sbin/initctl", "/etc/init/rc.conf"]),
            Some("upstart")
        );
        assert_eq!(decide(None, &["/lib/systemd/systemd"]), Some("systemd"));
        assert_eq!(decide(None, &[init]), Some("unknown"));
        assert_eq!(decide(None, &["/etc/inittab"]), None);
    }
}
