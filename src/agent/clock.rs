//! Sets what a restored machine must not share with its template: the clock and the state of the
//! random number generator.

use std::fs::OpenOptions;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::port::Port;
use super::power::may_change_machine;
use crate::protocol::{ErrorStage, RemoteError};
use crate::sys::errno_of;

/// Limit on the bytes of entropy in one request.
const MAX_ENTROPY: usize = 4096;

fn failed(what: &str, errno: Errno) -> RemoteError {
    RemoteError::of(ErrorStage::System, what, errno as i32)
}

/// Sets the clock to this time since 1970, UTC.
pub(crate) fn set(port: &Port, seconds: i64, nanoseconds: u32) -> Result<(), RemoteError> {
    may_change_machine(port)?;
    let time = TimeSpec::new(seconds, i64::from(nanoseconds));
    clock_settime(ClockId::CLOCK_REALTIME, time).map_err(|errno| failed("the clock", errno))
}

/// Adds entropy and reseeds the kernel's random number generator.
pub(crate) fn add_entropy(bytes: &[u8]) -> Result<(), RemoteError> {
    if bytes.is_empty() || bytes.len() > MAX_ENTROPY {
        return Err(RemoteError::new(
            ErrorStage::Request,
            "1 to 4096 bytes of entropy",
        ));
    }
    OpenOptions::new()
        .write(true)
        .open("/dev/urandom")
        .and_then(|device| crate::sys::add_entropy(device, bytes))
        .map_err(|error| failed("random numbers", errno_of(&error)))
}
