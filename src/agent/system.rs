//! The guest as a machine: its clock, its random numbers, its power. Only over a guest's port:
//! an agent that speaks over a descriptor may be running on somebody's computer.

use std::fs::OpenOptions;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::port::Port;
use super::process::errno_of;
use crate::guest::wire::{ErrorStage, Operation, RemoteError, Response};

/// How many bytes of entropy are taken at once.
const MOST: usize = 4096;

/// How the machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Reset.
    Reset,
}

impl Power {
    /// What an operation means for the power.
    pub fn of(op: &Operation) -> Option<Self> {
        match op {
            Operation::PowerOff => Some(Self::Off),
            Operation::Reboot => Some(Self::Reset),
            _ => None,
        }
    }
}

/// Whether the emergency mode of systemd is what the kernel's command line asks for
/// (kernel-command-line(7)); else it is what came of a boot that failed.
pub fn wants_emergency() -> bool {
    let told = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    asks_for_emergency(&told)
}

/// The last word about the target counts.
fn asks_for_emergency(told: &str) -> bool {
    let words = told.split_ascii_whitespace();
    let mut targets = words.filter_map(|word| match word {
        "emergency" | "-b" => Some("emergency.target"),
        "single" | "rescue" | "s" | "S" | "1" => Some("rescue.target"),
        word => word.strip_prefix("systemd.unit="),
    });
    targets.next_back() == Some("emergency.target")
}

/// Whether this agent may change the machine.
///
/// # Errors
/// EPERM where it speaks over a descriptor.
pub fn may_switch(port: &Port) -> Result<(), RemoteError> {
    match port.is_of_guest {
        true => Ok(()),
        false => Err(RemoteError::of(
            ErrorStage::System,
            "not over a guest's port",
            Errno::EPERM as i32,
        )),
    }
}

/// Ends the machine, at once and without the init system: nothing of it is kept.
pub fn switch(power: Power) {
    super::disks::look::release_all();
    nix::unistd::sync();
    let mode = match power {
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Reset => RebootMode::RB_AUTOBOOT,
    };
    let Err(errno) = reboot(mode);
    super::init::tell(&format!("reboot: {errno}"));
}

/// Sets the clock, adds entropy, or writes everything to disk.
///
/// # Errors
/// What the system says.
pub fn set(op: &Operation, port: &Port) -> Result<Response, RemoteError> {
    let failed = |what, errno: Errno| RemoteError::of(ErrorStage::System, what, errno as i32);
    match op {
        Operation::SetClock {
            seconds,
            nanoseconds,
        } => {
            may_switch(port)?;
            let time = TimeSpec::new(*seconds, i64::from(*nanoseconds));
            clock_settime(ClockId::CLOCK_REALTIME, time).map_err(|e| failed("the clock", e))?;
        }
        Operation::AddEntropy { bytes } => {
            if bytes.0.is_empty() || bytes.0.len() > MOST {
                return Err(RemoteError::new(
                    ErrorStage::Request,
                    "1 to 4096 bytes of entropy",
                ));
            }
            OpenOptions::new()
                .write(true)
                .open("/dev/urandom")
                .and_then(|device| crate::sys::add_entropy(device, &bytes.0))
                .map_err(|error| failed("random numbers", errno_of(&error)))?;
        }
        _ => nix::unistd::sync(),
    }
    Ok(Response::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emergency_mode_is_wanted_where_the_command_line_says_so_last() {
        for told in [
            "ro quiet emergency\n",
            "-b ro",
            "systemd.unit=rescue.target systemd.unit=emergency.target",
        ] {
            assert!(asks_for_emergency(told), "{told}");
        }
        for told in [
            "",
            "ro root=LABEL=emergency quiet",
            "emergency=no rd.emergency",
            "emergency single",
            "emergency systemd.unit=multi-user.target",
        ] {
            assert!(!asks_for_emergency(told), "{told}");
        }
    }
}
