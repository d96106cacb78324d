//! Whether KVM runs guests on this host, and if not, why and how to fix it. Determined by opening the
//! device and running a guest of a few instructions, never by mode bits. Does not choose the
//! accelerator.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

pub use super::acl::DenyReason;
use super::kvm_probe;

pub const DEVICE: &str = "/dev/kvm";

#[derive(Clone, Debug, PartialEq)]
pub enum Kvm {
    Works {
        /// The time of the probe's loop: microseconds.
        elapsed: Duration,
    },
    /// There is no device (ENOENT).
    Absent,
    /// There is no driver behind the device (ENODEV): no virtualisation hardware, or its module is not
    /// loaded.
    NoHardware,
    /// The control group forbids the device (EPERM), as in most containers.
    Forbidden,
    /// The device's permissions forbid it (EACCES).
    Denied(DenyReason),
    /// Another hypervisor uses the processor's virtualisation (EBUSY).
    Busy,
    /// It creates a VM, but emulates what runs in it.
    TooSlow {
        /// The CPU time until the probe was stopped, 2 to 5 ms.
        elapsed: Duration,
        /// How many times slower than the bare processor.
        factor: u32,
    },
    NotKvm,
    Unexpected {
        /// The system call or the ioctl request.
        step: &'static str,
        errno: Errno,
    },
}

/// Probes the host's KVM. Takes about 3 ms of CPU time if the result is [`Kvm::TooSlow`] (1 ms to create a
/// VM, 2 to 5 ms to run it), otherwise less than 1 ms. Leaves no descriptor, signal or handler behind;
/// another thread closes the VM. May be called from any thread.
pub fn check() -> Kvm {
    check_at(Path::new(DEVICE))
}

pub fn check_at(device: &Path) -> Kvm {
    use kvm_probe::{CREATE_VM, Failed, OPEN};
    match kvm_probe::run(device, kvm_probe::ITERATIONS) {
        Ok(timing) if timing.keeps_up => Kvm::Works {
            elapsed: timing.elapsed,
        },
        Ok(timing) => Kvm::TooSlow {
            elapsed: timing.elapsed,
            factor: timing.factor(),
        },
        Err(Failed::NotKvm) => Kvm::NotKvm,
        Err(Failed::Step(step, errno)) => match (step, errno) {
            (OPEN, Errno::ENOENT) => Kvm::Absent,
            (OPEN, Errno::ENODEV | Errno::ENXIO) => Kvm::NoHardware,
            (OPEN, Errno::EPERM) => Kvm::Forbidden,
            (OPEN, Errno::EACCES) => Kvm::Denied(DenyReason::of(device)),
            (CREATE_VM, Errno::EBUSY) => Kvm::Busy,
            _ => Kvm::Unexpected { step, errno },
        },
    }
}

impl Kvm {
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Works { .. } => "works",
            Self::Absent => "absent",
            Self::NoHardware => "no-hardware",
            Self::Forbidden => "forbidden",
            Self::Denied(_) => "denied",
            Self::Busy => "busy",
            Self::TooSlow { .. } => "too-slow",
            Self::NotKvm => "not-kvm",
            Self::Unexpected { .. } => "unexpected",
        }
    }

    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Works { .. } => return None,
            Self::Absent if is_container(Path::new("/")) => FOR_A_CONTAINER.into(),
            Self::Absent | Self::NoHardware => load_module(),
            Self::Forbidden => FOR_A_CONTAINER.into(),
            Self::Denied(reason) => reason.hint(),
            Self::Busy => "stop the other hypervisor (VirtualBox, VMware) or its machines".into(),
            Self::TooSlow { .. } => {
                "on a virtual host ask for nested virtualisation, or use bare metal".into()
            }
            Self::NotKvm => "`sudo rm /dev/kvm && sudo mknod -m 660 /dev/kvm c 10 232 && sudo \
                             chgrp kvm /dev/kvm`"
                .into(),
            Self::Unexpected { .. } => "see `dmesg | grep -i kvm`".into(),
        })
    }
}

const FOR_A_CONTAINER: &str = "give the device to the container: `--device /dev/kvm` (docker, \
     podman), or `DeviceAllow=/dev/kvm rw` in the unit";

/// Whether this is a container, which has a /dev of its own: by the files of docker, podman and, for
/// systemd-nspawn and others, systemd's Container Interface.
fn is_container(root: &Path) -> bool {
    let marks = [
        ".dockerenv",
        "run/.containerenv",
        "run/host/container-manager",
    ];
    marks.iter().any(|mark| root.join(mark).exists())
}

/// Rounded to two significant digits: more would change with each run.
fn two_digits(number: u32) -> u32 {
    let unit = 10_u32.pow(number.max(1).ilog10().saturating_sub(1));
    number.saturating_add(unit / 2) / unit * unit
}

/// With the processor's flag only the module is missing.
fn load_module() -> String {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag| flags.split_whitespace().any(|word| word == flag);
    match (has("vmx"), has("svm")) {
        (true, _) => "`sudo modprobe kvm_intel`".into(),
        (_, true) => "`sudo modprobe kvm_amd`".into(),
        _ => "enable virtualisation in the firmware's settings, or on a virtual host ask for \
              nested virtualisation"
            .into(),
    }
}

impl fmt::Display for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works { elapsed } => {
                write!(f, "KVM runs guests (probe: {} us)", elapsed.as_micros())
            }
            Self::Absent => write!(f, "there is no KVM here: {DEVICE} does not exist"),
            Self::NoHardware => write!(f, "there is no KVM here: nothing is behind {DEVICE}"),
            Self::Forbidden => write!(f, "the control group of this process forbids {DEVICE}"),
            Self::Denied(reason) => write!(f, "{DEVICE} may not be opened: {reason}"),
            Self::Busy => write!(f, "KVM is busy: another hypervisor uses the processor"),
            Self::TooSlow { factor, .. } => write!(
                f,
                "KVM cannot run guests here: about {} times slower than the bare processor",
                two_digits(*factor)
            ),
            Self::NotKvm => write!(f, "{DEVICE} is not KVM"),
            Self::Unexpected { step, errno } => write!(f, "KVM fails: {step}: {}", errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_managers_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_container(dir.path()));
        std::fs::write(dir.path().join(".dockerenv"), "").unwrap();
        assert!(is_container(dir.path()));
    }

    #[test]
    fn a_factor_is_told_in_two_digits() {
        assert_eq!(
            [1, 99, 101, 2449, 2451].map(two_digits),
            [1, 99, 100, 2400, 2500]
        );
        assert_eq!(two_digits(u32::MAX), 4_200_000_000);
    }
}
