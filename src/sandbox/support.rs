//! What this host can enforce.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::rules::Rules;
use crate::sys::{ChildUser, has_seccomp, landlock_version};

/// The first of the user numbers that nothing allocates: systemd's list of them ends its ranges for
/// containers at 1,879,048,191 (systemd.io/UIDS-GIDS). A process id is added.
const OWN_USERS: u32 = 1_900_000_000;
/// The highest process id (PID_MAX_LIMIT).
const MAX_PID: u32 = 1 << 22;
/// The user `nobody` of most systems, and the kernel's default for users without a number.
const NOBODY: u32 = 65_534;

/// The lowest version of Landlock without a known gap: below 3, a file may be truncated.
pub const LANDLOCK_COMPLETE: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// The version of Landlock's interface; 0 if there is none.
    pub landlock: u32,
    pub seccomp: bool,
    /// What root can become; `None` for other users, who stay what they are.
    pub user: Option<ChildUser>,
}

/// What the running kernel supports.
pub fn support() -> Support {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_root = Uid::effective().is_root() && can_become_another(&status);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Support {
        landlock: landlock_version(),
        seccomp: has_seccomp() && syscalls_known(),
        user: is_root.then(|| user(&map)).flatten(),
    }
}

/// Whether the effective capabilities in /proc/PID/status have CAP_SETGID (6) and CAP_SETUID (7): root
/// in a container may have none. Without that file, whether it works is seen later.
fn can_become_another(status: &str) -> bool {
    const NEEDED: u64 = 1 << 6 | 1 << 7;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_none_or(|effective| effective & NEEDED == NEEDED)
}

fn syscalls_known() -> bool {
    seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

impl Support {
    /// What is missing here for all of the sandbox.
    pub fn lack(&self) -> Option<String> {
        if self.landlock == 0 {
            return Some("this kernel has no Landlock, or it is not enabled".to_owned());
        }
        if self.landlock < LANDLOCK_COMPLETE {
            let (found, wanted) = (self.landlock, LANDLOCK_COMPLETE);
            return Some(format!(
                "this kernel has version {found} of Landlock's interface, not {wanted} or later"
            ));
        }
        (!self.seccomp).then(|| "this kernel has no seccomp filters".to_owned())
    }

    /// The user and group for a process with these rules. It must be able to open what it may open:
    /// a QEMU below a directory that only root may enter is run by root.
    pub(super) fn user_for(&self, rules: &Rules) -> Option<(ChildUser, Option<u32>)> {
        let user = self.user?;
        let reachable = rules.execute.iter().all(|path| is_open_to_all(path));
        reachable.then(|| (user, group_of(&rules.devices)))
    }
}

/// The name in reports.
pub(super) fn name(user: ChildUser) -> &'static str {
    match user {
        ChildUser::Own(_) => "own",
        ChildUser::Fixed(_) => "nobody",
    }
}

/// What root can become in a user namespace with this map (user_namespaces(7)).
fn user(map: &str) -> Option<ChildUser> {
    let has = |from: u64, count: u64| {
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(first)), _, Some(Ok(length))) =
                (numbers.next(), numbers.next(), numbers.next())
            else {
                return false;
            };
            first <= from && from + count <= first + length
        })
    };
    match () {
        () if has(OWN_USERS.into(), MAX_PID.into()) => Some(ChildUser::Own(OWN_USERS)),
        () if has(NOBODY.into(), 1) => Some(ChildUser::Fixed(NOBODY)),
        () => None,
    }
}

/// Whether a user without rights of its own may read it, and enter every directory above it.
pub fn is_open_to_all(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        // What does not exist gets no rule either.
        return true;
    };
    let may = |path: &Path, bits| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & bits == bits)
    };
    may(&path, 0o4) && path.ancestors().skip(1).all(|above| may(above, 0o1))
}

/// The group by which all devices can be opened, if others cannot: that of /dev/kvm.
fn group_of(devices: &[PathBuf]) -> Option<u32> {
    let found = devices.iter().filter_map(|path| fs::metadata(path).ok());
    let needs = found.filter(|found| found.permissions().mode() & 0o6 != 0o6);
    let mut groups = needs.filter(|found| found.permissions().mode() & 0o60 == 0o60);
    groups.next().map(|found| found.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_only_where_the_namespace_has_it() {
        let of = |map| user(map);
        assert_eq!(
            of("         0          0 4294967295\n"),
            Some(ChildUser::Own(OWN_USERS))
        );
        assert_eq!(
            of("0 1000 1\n1 100000 65536\n"),
            Some(ChildUser::Fixed(NOBODY))
        );
        assert_eq!(of("0 1000 1\n"), None);
        assert_eq!(of("nonsense\n"), None);
    }

    #[test]
    fn root_without_capabilities_stays_what_it_is() {
        assert!(can_become_another("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(can_become_another("CapEff:\t00000000000000c0\n"));
        assert!(!can_become_another("CapEff:\t0000000000000040\n"));
        assert!(!can_become_another(
            "CapPrm:\tff\nCapEff:\t0000000000000000\n"
        ));
        assert!(can_become_another(""));
    }

    #[test]
    fn a_program_below_a_private_directory_is_not_open_to_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let program = dir.path().join("qemu");
        fs::write(&program, "").unwrap();
        assert!(!is_open_to_all(&program));
        assert!(is_open_to_all(Path::new("/usr/bin/env")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut all = Support {
            landlock: 7,
            seccomp: true,
            user: None,
        };
        assert_eq!(all.lack(), None);
        all.seccomp = false;
        assert!(all.lack().unwrap().contains("seccomp"));
        all.landlock = 2;
        assert!(all.lack().unwrap().contains("version 2"));
        all.landlock = 0;
        assert!(all.lack().unwrap().contains("no Landlock"));
    }
}
