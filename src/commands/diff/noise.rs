//! What changes in every run of a system and is therefore left out unless it is asked for: logs, caches,
//! temporary files, ids and seeds, and bivouac's own agent.
//!
//! The list is in bivouac-diff(1), too.

/// Directories; everything below them is noise, they themselves are not.
const DIRECTORIES: [&str; 17] = [
    "/dev",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache",
    "/var/lib/NetworkManager",
    "/var/lib/dhcp",
    "/var/lib/dhcpcd",
    "/var/lib/systemd/catalog",
    "/var/lib/systemd/timers",
    "/var/lib/systemd/timesync",
    "/var/log",
    "/var/tmp",
    "/var/run",
    "/lost+found",
    "/root/.cache",
];

/// Files, and directories without what is in them.
const FILES: [&str; 18] = [
    "/etc/.updated",
    "/etc/adjtime",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/.pwd.lock",
    "/var/.updated",
    "/var/lib/dbus/machine-id",
    "/var/lib/logrotate/status",
    "/var/lib/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    // Directories that systemd makes, or that bivouac makes for its agent.
    "/etc/systemd/system-preset",
    "/etc/systemd/system/default.target.wants",
    "/etc/systemd/system/emergency.target.wants",
    "/etc/systemd/system/rescue.target.wants",
    "/etc/systemd/system/systemd-firstboot.service.d",
    "/var/lib/systemd/linger",
];

/// What the names of the files that start bivouac's agent contain, wherever they are in /etc.
const AGENT: &[u8] = b"bivouac";

/// Whether changes of the file at `path`, absolute and from the root of a system, are noise.
pub fn is_noise(path: &[u8]) -> bool {
    let below = |directory: &&str| {
        let rest = path.strip_prefix(directory.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    };
    let is_agents =
        || path.starts_with(b"/etc/") && path.windows(AGENT.len()).any(|part| part == AGENT);
    let is_cache = || {
        let mut parts = path.split(|byte| *byte == b'/').skip(1);
        parts.next() == Some(b"home") && parts.nth(1) == Some(b".cache") && parts.next().is_some()
    };
    DIRECTORIES.iter().any(below)
        || FILES.iter().any(|file| path == file.as_bytes())
        || is_agents()
        || is_cache()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_caches_ids_and_the_agent_are_noise() {
        for path in [
            "/var/log/syslog",
            "/var/cache/apt/pkgcache.bin",
            "/home/user/.cache/x",
            "/etc/machine-id",
            "/etc/bivouac/bivouac-agent",
            "/etc/systemd/system/multi-user.target.wants/bivouac-agent.service",
        ] {
            assert!(is_noise(path.as_bytes()), "{path}");
        }
        for path in [
            "/var/log",
            "/var/logs/x",
            "/home/user/.cache",
            "/home/.cache/x",
            "/etc/machine-id2",
            "/usr/bin/bivouac",
            "/",
        ] {
            assert!(!is_noise(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn the_manual_page_lists_all_of_it() {
        let page = include_str!("../../../man/bivouac-diff.1");
        for path in DIRECTORIES.iter().chain(&FILES) {
            assert!(page.contains(&format!("Pa {path}")), "{path}");
        }
    }
}
