//! The checks of `doctor`, each from what `host` reports about one thing.

use super::{Args, Check, CheckStatus, Filesystems};
use crate::appliance;
use crate::host::kvm::Kvm;
use crate::host::probe::{self, Capabilities};
use crate::host::scratch::{Scratch, TempFileMethod};
use crate::host::{self, firmware, install_hint};
use crate::linux::program::Program;
use crate::sandbox::{Enforced, Mode, Rules, confine, support};
use crate::text::one_line;
use crate::text::size::Size;

/// Below this a guest that installs something fills the overlay.
const LITTLE_SPACE: u64 = 1 << 30;

impl Check {
    fn new(
        about: &'static str,
        status: CheckStatus,
        text: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self {
            about,
            status,
            text: text.into(),
            hint,
        }
    }

    fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, CheckStatus::Ok, text, None)
    }

    fn warn(about: &'static str, text: impl Into<String>, hint: Option<String>) -> Self {
        Self::new(about, CheckStatus::Warn, text, hint)
    }

    fn fail(about: &'static str, text: impl Into<String>, hint: Option<String>) -> Self {
        Self::new(about, CheckStatus::Fail, text, hint)
    }
}

pub fn qemu(args: &Args) -> Vec<Check> {
    let path = match host::qemu::find(args.qemu.as_deref()) {
        Ok(path) => path,
        Err(error) => return vec![Check::fail("qemu", one_line(&error), error.hint())],
    };
    match probe::ask(&path, &args.sandbox.settings()) {
        Ok(found) => check_capabilities(&found),
        Err(error) => vec![Check::fail("qemu", one_line(&error), error.hint())],
    }
}

fn check_capabilities(found: &Capabilities) -> Vec<Check> {
    let mut checks = vec![check_version(found)];
    if found.missing.is_empty() {
        checks.push(Check::ok(
            "devices",
            "QEMU has every device that run offers",
        ));
    }
    let is_missing = |device: &&probe::Requirement| found.missing.contains(&device.name);
    checks.extend(probe::DEVICES.iter().filter(is_missing).map(|device| {
        let text = format!(
            "QEMU lacks the device {} ({})",
            device.name, device.used_for
        );
        let status = match device.always {
            true => CheckStatus::Fail,
            false => CheckStatus::Warn,
        };
        Check::new("devices", status, text, another_qemu())
    }));
    checks.push(match found.user_network {
        true => Check::ok("network", "QEMU has user networking (--net user)"),
        false => Check::warn(
            "network",
            "QEMU lacks user networking (--net user)",
            another_qemu(),
        ),
    });
    checks
}

fn check_version(found: &Capabilities) -> Check {
    let (major, minor, micro) = found.version;
    let package = match found.package.as_str() {
        "" => String::new(),
        package => format!(" ({package})"),
    };
    let path = found.path.display();
    let text = format!("QEMU {major}.{minor}.{micro}{package} at {path}");
    if (major, minor) < probe::OLDEST {
        let (major, minor) = probe::OLDEST;
        let text = format!("{text} is older than {major}.{minor}");
        Check::fail("qemu", text, another_qemu())
    } else if found.kvm {
        Check::ok("qemu", text)
    } else {
        let text = format!("{text} was built without KVM");
        Check::warn("qemu", text, another_qemu())
    }
}

fn another_qemu() -> Option<String> {
    Some(format!(
        "install a newer one ({}), and name it with --qemu PATH if it is not the first in PATH",
        install_hint::command_for(install_hint::Package::Qemu)
    ))
}

/// `None` without a QEMU to confine.
pub fn sandbox(args: &Args) -> Option<Check> {
    let path = host::qemu::find(args.qemu.as_deref()).ok()?;
    let settings = args.sandbox.settings();
    if settings.mode == Mode::Off {
        return Some(Check::warn(
            "sandbox",
            "QEMU is not confined (--sandbox off)",
            Some("leave out --sandbox off and BIVOUAC_SANDBOX".to_owned()),
        ));
    }
    let rules = Rules::of_program(&Program::of(&path), &settings.read);
    Some(match confine(settings.mode, &rules, &support()) {
        Ok((
            _,
            Enforced {
                weaker: Some(lack), ..
            },
        )) => {
            let hint = "Linux 6.2 or later with Landlock enabled (lsm=landlock,...)";
            let text = format!("QEMU is confined less than usually: {lack}");
            Check::warn("sandbox", text, Some(hint.to_owned()))
        }
        Ok((_, enforced)) => Check::ok("sandbox", enforced.to_string()),
        Err(error) => Check::fail("sandbox", one_line(&error), error.hint().map(str::to_owned)),
    })
}

pub fn kvm(found: &Kvm) -> Check {
    match found {
        Kvm::Works { .. } => Check::ok("kvm", found.to_string()),
        _ => Check::warn(
            "kvm",
            format!("{found}; guests are emulated (TCG)"),
            found.hint(),
        ),
    }
}

pub fn overlay(args: &Args) -> Check {
    let scratch = match Scratch::choose(args.overlay_dir.as_deref()) {
        Ok(scratch) => scratch,
        Err(error) => return Check::fail("overlay", one_line(&error), error.hint()),
    };
    let directory = scratch.directory().display();
    let another = || Some("name another with --overlay-dir DIR".to_owned());
    let space = match scratch.space() {
        Ok(space) => space,
        Err(error) => {
            let text = format!("the free space of {directory} is unknown: {error}");
            return Check::warn("overlay", text, another());
        }
    };
    let method = match scratch.method() {
        TempFileMethod::Unnamed => "they never have a name (O_TMPFILE)",
        TempFileMethod::Unlinked => "they have a name briefly (the filesystem lacks O_TMPFILE)",
    };
    let (kind, free) = (&space.kind, Size(space.free));
    let text = format!("overlays go to {directory} ({kind}, {free} free); {method}");
    if let Some(warning) = scratch.warning() {
        let hint = "`--overlay-dir /var/tmp`, if that is a disk".to_owned();
        Check::warn("overlay", warning, Some(hint))
    } else if space.free < LITTLE_SPACE {
        let text = format!("{text}; that is not much space");
        Check::warn("overlay", text, another())
    } else if scratch.method() == TempFileMethod::Unlinked {
        Check::warn("overlay", text, another())
    } else {
        Check::ok("overlay", text)
    }
}

/// The appliance's kernel. A run that only boots an image does not need it.
pub fn kernel(args: &Args) -> Check {
    match host::kernel::find(args.kernel.as_deref()) {
        Ok(found) => {
            let text = format!("the appliance's kernel is {}", found.image.display());
            match (found.newer_unreadable, found.modules) {
                (Some(newer), _) => {
                    let text = format!("{text}; the newer {} cannot be read", newer.display());
                    Check::warn("kernel", text, Some(host::kernel::permission_hint(&newer)))
                }
                (None, None) => {
                    let release = found.release.as_deref().unwrap_or("its release");
                    let text = format!("{text}, without modules: no /lib/modules/{release}");
                    Check::warn("kernel", text, Some(host::kernel::modules_hint()))
                }
                (None, Some(_)) => Check::ok("kernel", text),
            }
        }
        Err(error) => Check::warn("kernel", one_line(&error), error.hint()),
    }
}

/// Whether this program can run in a guest.
pub fn agent() -> Check {
    match appliance::check_program() {
        Ok(()) => Check::ok(
            "agent",
            "this program is static, and can be the agent in guests",
        ),
        Err(error) => {
            let text = format!("no inspection, no command in a guest: {}", one_line(&error));
            Check::warn("agent", text, error.hint())
        }
    }
}

/// What the appliance's kernel can mount; `None` if there is no kernel, which is said elsewhere.
pub fn filesystems(args: &Args) -> Option<Filesystems> {
    let kernel = host::kernel::find(args.kernel.as_deref()).ok()?;
    let kinds = appliance::filesystems(&kernel).ok()?;
    let names = |readable: bool| {
        let kinds = kinds
            .iter()
            .filter(|(_, has_driver)| *has_driver == readable);
        let mut names: Vec<_> = kinds.map(|(kind, _)| kind.name()).collect();
        names.sort_unstable();
        names
    };
    Some(Filesystems {
        readable: names(true),
        unreadable: names(false),
    })
}

pub fn readable(found: &Filesystems) -> Check {
    let (readable, unreadable) = (found.readable.join(" "), found.unreadable.join(" "));
    let text = format!("that kernel reads {readable}; it has no driver for {unreadable}");
    Check::ok("filesystems", text)
}

pub fn uefi() -> Check {
    match firmware::find_uefi("q35") {
        Ok(found) => Check::ok("uefi", format!("UEFI firmware is {}", found.code.display())),
        Err(error) => Check::warn("uefi", one_line(&error), error.hint()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Diagnosis;
    use super::*;

    fn capabilities() -> Capabilities {
        Capabilities {
            path: "/opt/qemu".into(),
            version: (7, 2, 22),
            package: "Debian 1:7.2".into(),
            kvm: true,
            missing: vec![],
            user_network: true,
        }
    }

    fn statuses(found: &Capabilities) -> Vec<(&'static str, CheckStatus)> {
        check_capabilities(found)
            .iter()
            .map(|check| (check.about, check.status))
            .collect()
    }

    #[test]
    fn a_qemu_that_has_everything_is_ok() {
        assert!(
            statuses(&capabilities())
                .iter()
                .all(|(_, status)| *status == CheckStatus::Ok)
        );
    }

    #[test]
    fn a_qemu_older_than_6_2_fails_and_one_of_6_2_does_not() {
        let old = Capabilities {
            version: (6, 1, 9),
            ..capabilities()
        };
        assert_eq!(statuses(&old)[0], ("qemu", CheckStatus::Fail));
        let new = Capabilities {
            version: (6, 2, 0),
            ..capabilities()
        };
        assert_eq!(statuses(&new)[0], ("qemu", CheckStatus::Ok));
    }

    #[test]
    fn a_device_that_every_run_needs_fails_and_one_of_an_option_warns() {
        let without = |missing| Capabilities {
            missing: vec![missing],
            ..capabilities()
        };
        assert!(statuses(&without("virtio-blk-pci")).contains(&("devices", CheckStatus::Fail)));
        assert!(statuses(&without("nvme")).contains(&("devices", CheckStatus::Warn)));
        assert!(!Diagnosis::new(check_capabilities(&without("virtio-blk-pci"))).works);
        assert!(Diagnosis::new(check_capabilities(&without("nvme"))).works);
    }

    #[test]
    fn a_qemu_without_kvm_or_user_networking_warns() {
        let bare = Capabilities {
            kvm: false,
            user_network: false,
            ..capabilities()
        };
        assert!(statuses(&bare).contains(&("qemu", CheckStatus::Warn)));
        assert!(statuses(&bare).contains(&("network", CheckStatus::Warn)));
    }
}
