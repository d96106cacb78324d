//! The program inside the guest: this very binary under another name, or as process 1. It knows
//! [`crate::guest::wire`] and the kernel, and needs no file of the guest besides itself.

pub mod disks;

use std::process::ExitCode;

/// Whether this program is the agent.
pub fn is_wanted() -> bool {
    std::process::id() == 1
}

/// The whole agent.
pub fn main() -> ExitCode {
    use nix::mount::{MsFlags, mount};
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
    ] {
        let _ = mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        );
    }
    if let Some(count) = disks::console::asked() {
        disks::console::answer(count);
    }
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}
