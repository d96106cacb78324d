//! `bivouac doctor`: what this host can do, what is in the way, and how to mend it. Tries each
//! thing as a run would, changes nothing, and leaves nothing behind.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Failure;
use crate::exit::Status;
use crate::host::filesystem::bytes;
use crate::host::kvm::{self, Kvm};
use crate::host::probe::{self, Abilities};
use crate::host::scratch::{Scratch, Way};
use crate::host::{distribution, firmware, kernel, qemu};

/// Below this a guest that installs something fills the overlay.
const LITTLE_SPACE: u64 = 1 << 30;

/// Show what this host can do, what is in the way, and how to mend it
///
/// Tries each thing as a run would and changes nothing. Exits with 1 if `bivouac run` could
/// not work here.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// QEMU's emulator, a path or a name in PATH
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// The appliance's kernel
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Where overlays go
    #[arg(long, value_name = "DIR")]
    pub overlay_dir: Option<PathBuf>,
}

/// What was found, in the order in which a run needs it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether `bivouac run` can work here: no finding is a failure.
    pub works: bool,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What it is about: `qemu`, `devices`, `network`, `kvm`, `overlay`, `kernel` or `uefi`.
    pub about: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// One line.
    pub text: String,
    /// What would better it; one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// `run` works, but slower or with less.
    Warn,
    /// `run` cannot work.
    Fail,
}

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

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let works = findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Fail);
        Self { works, findings }
    }

    /// [`Status::Negative`] where `run` could not work.
    pub fn status(&self) -> Status {
        match self.works {
            true => Status::Success,
            false => Status::Negative,
        }
    }
}

impl fmt::Display for Report {
    /// A line each, and the mend on the next, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding {
            verdict,
            text,
            mend,
            ..
        } in &self.findings
        {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
            };
            writeln!(f, "{word:<4}  {text}")?;
            if let Some(mend) = mend {
                writeln!(f, "      mend: {mend}")?;
            }
        }
        Ok(())
    }
}

/// Examines the host. Some 300 ms: QEMU is really started, without a machine.
///
/// # Errors
/// None: what fails is a finding.
pub fn run(args: &Args) -> Result<Report, Failure> {
    let mut findings = qemu_findings(args);
    findings.push(kvm_finding(&kvm::check()));
    findings.push(overlay_finding(args));
    findings.push(kernel_finding(args));
    findings.push(uefi_finding());
    Ok(Report::new(findings))
}

fn qemu_findings(args: &Args) -> Vec<Finding> {
    let path = match qemu::find(args.qemu.as_deref()) {
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

fn kvm_finding(found: &Kvm) -> Finding {
    match found {
        Kvm::Works { .. } => Finding::ok("kvm", found.to_string()),
        _ => Finding::warn(
            "kvm",
            format!("{found}; guests are emulated (TCG)"),
            found.mend(),
        ),
    }
}

fn overlay_finding(args: &Args) -> Finding {
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
    let text = format!(
        "overlays go to {directory} ({}, {} free)",
        space.kind,
        bytes(space.free)
    );
    if let Some(warning) = scratch.warning() {
        Finding::warn(
            "overlay",
            warning,
            Some("`--overlay-dir /var/tmp`, if that is a disk".into()),
        )
    } else if space.free < LITTLE_SPACE {
        Finding::warn("overlay", format!("{text}: little space"), another())
    } else if scratch.way() == Way::Unlinked {
        let text = format!("{text}, which lacks O_TMPFILE: they have a name for an instant");
        Finding::warn("overlay", text, another())
    } else {
        Finding::ok(
            "overlay",
            format!("{text}, without ever having a name (O_TMPFILE)"),
        )
    }
}

/// A run that only boots an image needs no kernel of ours.
fn kernel_finding(args: &Args) -> Finding {
    match kernel::find(args.kernel.as_deref()) {
        Ok(found) => {
            let text = format!("the appliance's kernel is {}", found.image.display());
            match (found.newer_unreadable, found.modules) {
                (Some(newer), _) => {
                    let text = format!("{text}; the newer {} cannot be read", newer.display());
                    Finding::warn("kernel", text, Some(kernel::unreadable_mend(&newer)))
                }
                (None, None) => {
                    let release = found.release.as_deref().unwrap_or("its release");
                    let text = format!("{text}, without modules: no /lib/modules/{release}");
                    Finding::warn("kernel", text, Some(kernel::modules_mend()))
                }
                (None, Some(_)) => Finding::ok("kernel", text),
            }
        }
        Err(error) => Finding::warn("kernel", one_line(&error), error.mend()),
    }
}

fn uefi_finding() -> Finding {
    match firmware::find_uefi("q35", &firmware::descriptor_directories()) {
        Ok(found) => Finding::ok("uefi", format!("UEFI firmware is {}", found.code.display())),
        Err(error) => Finding::warn("uefi", one_line(&error), error.mend()),
    }
}

/// An error and its causes.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
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
