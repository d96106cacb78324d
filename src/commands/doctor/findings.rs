//! The findings of `doctor`, each made from what `host` says about one thing.

use super::{Args, Finding, Verdict};
use crate::host::kvm::Kvm;
use crate::host::probe::{self, Abilities};
use crate::host::scratch::{Scratch, Way};
use crate::host::{self, distribution, firmware};
use crate::text::one_line;
use crate::text::size::Size;

/// Below this a guest that installs something fills the overlay.
const LITTLE_SPACE: u64 = 1 << 30;

impl Finding {
    fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Ok,
            text: text.into(),
            mend: None,
        }
    }

    fn warn(about: &'static str, text: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Warn,
            text: text.into(),
            mend,
        }
    }

    fn fail(about: &'static str, text: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Fail,
            text: text.into(),
            mend,
        }
    }
}

/// The emulator, its devices and its networking.
pub fn qemu(args: &Args) -> Vec<Finding> {
    let path = match host::qemu::find(args.qemu.as_deref()) {
        Ok(path) => path,
        Err(error) => return vec![Finding::fail("qemu", one_line(&error), error.mend())],
    };
    match probe::ask(&path) {
        Ok(abilities) => judge_qemu(&abilities),
        Err(error) => vec![Finding::fail("qemu", one_line(&error), error.mend())],
    }
}

/// What a QEMU that answered means for a run.
fn judge_qemu(found: &Abilities) -> Vec<Finding> {
    let (major, minor, micro) = found.version;
    let package = match found.package.as_str() {
        "" => String::new(),
        package => format!(" ({package})"),
    };
    let text = format!(
        "QEMU {major}.{minor}.{micro}{package} at {}",
        found.path.display()
    );
    let newer = || {
        Some(format!(
            "install a newer one ({}), and name it with --qemu PATH if it is not the first in PATH",
            distribution::install(distribution::Package::Qemu)
        ))
    };
    let mut findings = Vec::new();
    if (major, minor) < probe::OLDEST {
        let (major, minor) = probe::OLDEST;
        let text = format!("{text} is older than {major}.{minor}");
        findings.push(Finding::fail("qemu", text, newer()));
    } else if found.kvm {
        findings.push(Finding::ok("qemu", text));
    } else {
        findings.push(Finding::warn(
            "qemu",
            format!("{text} was built without KVM"),
            newer(),
        ));
    }
    if found.missing.is_empty() {
        findings.push(Finding::ok(
            "devices",
            "QEMU has every device that run offers",
        ));
    }
    for need in probe::DEVICES
        .iter()
        .filter(|need| found.missing.contains(&need.name))
    {
        let text = format!("QEMU lacks the device {} ({})", need.name, need.used_for);
        findings.push(match need.always {
            true => Finding::fail("devices", text, newer()),
            false => Finding::warn("devices", text, newer()),
        });
    }
    findings.push(match found.user_network {
        true => Finding::ok("network", "QEMU has user networking (--net user)"),
        false => Finding::warn(
            "network",
            "QEMU lacks user networking (--net user)",
            newer(),
        ),
    });
    findings
}

/// Whether KVM runs guests.
pub fn kvm(found: &Kvm) -> Finding {
    match found {
        Kvm::Works { .. } => Finding::ok("kvm", found.to_string()),
        _ => Finding::warn(
            "kvm",
            format!("{found}; guests are emulated (TCG)"),
            found.mend(),
        ),
    }
}

/// Where overlays go.
pub fn overlay(args: &Args) -> Finding {
    let scratch = match Scratch::choose(args.overlay_dir.as_deref()) {
        Ok(scratch) => scratch,
        Err(error) => return Finding::fail("overlay", one_line(&error), error.mend()),
    };
    let directory = scratch.directory().display();
    let another = || Some("name another with --overlay-dir DIR".to_owned());
    let space = match scratch.space() {
        Ok(space) => space,
        Err(error) => {
            let text = format!("the free space of {directory} is not known: {error}");
            return Finding::warn("overlay", text, another());
        }
    };
    let way = match scratch.way() {
        Way::Unnamed => "they never have a name (O_TMPFILE)",
        Way::Unlinked => "they have a name for an instant, for it lacks O_TMPFILE",
    };
    let free = Size(space.free);
    let text = format!(
        "overlays go to {directory} ({}, {free} free); {way}",
        space.kind
    );
    if let Some(warning) = scratch.warning() {
        let mend = "`--overlay-dir /var/tmp`, if that is a disk".to_owned();
        Finding::warn("overlay", warning, Some(mend))
    } else if space.free < LITTLE_SPACE {
        Finding::warn(
            "overlay",
            format!("{text}; that is little space"),
            another(),
        )
    } else if scratch.way() == Way::Unlinked {
        Finding::warn("overlay", text, another())
    } else {
        Finding::ok("overlay", text)
    }
}

/// The appliance's kernel. A run that only boots an image needs no kernel of ours.
pub fn kernel(args: &Args) -> Finding {
    match host::kernel::find(args.kernel.as_deref()) {
        Ok(found) => {
            let text = format!("the appliance's kernel is {}", found.image.display());
            match (found.newer_unreadable, found.modules) {
                (Some(newer), _) => {
                    let text = format!("{text}; the newer {} cannot be read", newer.display());
                    Finding::warn("kernel", text, Some(host::kernel::unreadable_mend(&newer)))
                }
                (None, None) => {
                    let release = found.release.as_deref().unwrap_or("its release");
                    let text = format!("{text}, without modules: no /lib/modules/{release}");
                    Finding::warn("kernel", text, Some(host::kernel::modules_mend()))
                }
                (None, Some(_)) => Finding::ok("kernel", text),
            }
        }
        Err(error) => Finding::warn("kernel", one_line(&error), error.mend()),
    }
}

/// Whether `--firmware uefi` works.
pub fn uefi() -> Finding {
    match firmware::find_uefi("q35") {
        Ok(found) => Finding::ok("uefi", format!("UEFI firmware is {}", found.code.display())),
        Err(error) => Finding::warn("uefi", one_line(&error), error.mend()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::*;

    fn abilities() -> Abilities {
        Abilities {
            path: "/opt/qemu".into(),
            version: (7, 2, 22),
            package: "Debian 1:7.2".into(),
            kvm: true,
            missing: vec![],
            user_network: true,
        }
    }

    fn verdicts(found: &Abilities) -> Vec<(&'static str, Verdict)> {
        judge_qemu(found)
            .iter()
            .map(|finding| (finding.about, finding.verdict))
            .collect()
    }

    #[test]
    fn a_qemu_that_has_everything_is_ok() {
        assert!(
            verdicts(&abilities())
                .iter()
                .all(|(_, verdict)| *verdict == Verdict::Ok)
        );
    }

    #[test]
    fn a_qemu_older_than_6_2_fails_and_one_of_6_2_does_not() {
        let old = Abilities {
            version: (6, 1, 9),
            ..abilities()
        };
        assert_eq!(verdicts(&old)[0], ("qemu", Verdict::Fail));
        let new = Abilities {
            version: (6, 2, 0),
            ..abilities()
        };
        assert_eq!(verdicts(&new)[0], ("qemu", Verdict::Ok));
    }

    #[test]
    fn a_device_that_every_run_needs_fails_and_one_of_an_option_warns() {
        let without = |missing| Abilities {
            missing: vec![missing],
            ..abilities()
        };
        assert!(verdicts(&without("virtio-blk-pci")).contains(&("devices", Verdict::Fail)));
        assert!(verdicts(&without("nvme")).contains(&("devices", Verdict::Warn)));
        assert!(!Report::new(judge_qemu(&without("virtio-blk-pci"))).works);
        assert!(Report::new(judge_qemu(&without("nvme"))).works);
    }

    #[test]
    fn a_qemu_without_kvm_or_user_networking_warns() {
        let bare = Abilities {
            kvm: false,
            user_network: false,
            ..abilities()
        };
        assert!(verdicts(&bare).contains(&("qemu", Verdict::Warn)));
        assert!(verdicts(&bare).contains(&("network", Verdict::Warn)));
    }
}
