//! Powers the machine off or reboots it, without the init system: nothing on its disks is kept.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};

use super::log;
use super::port::Port;
use crate::protocol::{ErrorStage, RemoteError};

/// Whether this agent may change the machine: only one that speaks over a guest's port. One that
/// speaks over a descriptor may be running on the host.
pub(crate) fn may_change_machine(port: &Port) -> Result<(), RemoteError> {
    match port.is_of_guest {
        true => Ok(()),
        false => Err(RemoteError::of(
            ErrorStage::System,
            "not over a guest's port",
            Errno::EPERM,
        )),
    }
}

/// Ends the machine after sync(2). Returns only if that fails.
pub(crate) fn power_off_or_reboot(mode: RebootMode) {
    nix::unistd::sync();
    let Err(errno) = reboot(mode);
    log::console(&format!("cannot power off or reboot: {errno}"));
}

/// Powers off and never returns, as process 1 must not.
pub(crate) fn power_off() -> ! {
    power_off_or_reboot(RebootMode::RB_POWER_OFF);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
