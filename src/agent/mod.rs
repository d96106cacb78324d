//! The program inside the guest: this very binary under another name, or as process 1. It knows
//! [`crate::guest::wire`] and the kernel, and needs no file of the guest besides itself.
//!
//! One thread, one poll(2): `serve` reads the port, starts processes and moves bytes.
//! Whatever may take long, such as a walk through a tree, is a forked child that writes to a
//! pipe (`job`), so the loop never waits for a disk, and every stream is a descriptor. Memory
//! is constant: a window for each stream and one buffer for the port.
//!
//! [`disks`] finds what is on the machine's disks, and mounts it; `seed` puts this program into
//! such a root, where the image's own init will start it.
//!
//! It never panics on purpose: where it is process 1, its end would be the kernel's.

mod account;
mod child;
pub mod disks;
mod files;
mod identity;
mod init;
mod job;
mod pack;
mod port;
mod process;
mod resolve;
mod seed;
mod serve;
mod streams;
mod system;
mod task;
mod unpack;
mod walk;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use port::Port;

/// How long the host's end of the port may be closed before it is held to be gone for good.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this program is the agent: it is named `bivouac-agent`, or `init`, as the kernel
/// calls the first program of an initramfs. Its process id says nothing: in a container
/// `bivouac run` may well be process 1.
pub fn is_wanted() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    name == "bivouac-agent" || name == "init"
}

/// The whole agent. As process 1 it does not return: it powers the machine off.
///
/// `--fd N` makes it speak over a descriptor that it was started with, in place of the port.
/// `--emergency` is what a unit of emergency mode says.
pub fn main() -> ExitCode {
    let first = std::process::id() == 1;
    if first {
        init::prepare();
        // The port's own driver is among them; where that fails, there is no port to say so.
        if let Err(error) = disks::modules::Modules::of_the_appliance().load("base") {
            init::tell(&format!("loading the modules of the base: {error}"));
        }
        if let Some(disks) = disks::console::asked() {
            disks::console::answer(disks);
            init::power_off();
        }
    }
    // A panic is a fault of ours, and must not become the kernel's.
    let result =
        std::panic::catch_unwind(|| open(std::env::args_os().skip(1)).and_then(serve::serve));
    let result = result.unwrap_or_else(|_| Err(io::Error::other("it panicked")));
    if let Err(error) = &result {
        init::tell(&format!("{error}"));
    }
    if first {
        init::power_off();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The channel to the host.
fn open(args: impl Iterator<Item = OsString>) -> io::Result<Port> {
    let args: Vec<OsString> = args.collect();
    let mut after = args.iter().skip_while(|arg| *arg != "--fd").skip(1);
    let number = after
        .next()
        .and_then(|number| number.to_str()?.parse().ok());
    let inherited = number.map(crate::sys::inherited).transpose()?;
    // Commands do not inherit the other descriptors that the agent was started with.
    crate::sys::close_on_exec_from(3)?;
    let mut port = connect(inherited)?;
    let is_emergency = args.iter().any(|arg| arg == "--emergency");
    port.is_emergency = is_emergency && !system::wants_emergency();
    Ok(port)
}

fn connect(inherited: Option<OwnedFd>) -> io::Result<Port> {
    match inherited {
        // A socket's end is for good.
        Some(descriptor) => Port::new(descriptor.into(), false, Duration::ZERO),
        None => {
            if std::process::id() != 1 {
                port::load_driver();
            }
            Port::new(port::find(PATIENCE)?, true, PATIENCE)
        }
    }
}
