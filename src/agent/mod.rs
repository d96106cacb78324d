//! The program inside the guest: this same binary under another name, or as process 1. It speaks
//! [`crate::protocol`] with the host, and needs no file of the guest besides itself.
//!
//! One thread with one poll(2): `event_loop` reads the port, `requests` starts processes, and
//! `streams` move bytes. A command runs in a forked process (`process`, `exec`). So does whatever
//! may block, such as reading a disk (`worker`), unless the agent is the appliance's: it uses `walk`, `pack`, `unpack`, `inject`, `mount`
//! and [`crate::block`]. Tar streams are made and read by [`crate::archive`], which the host uses as well.
//! Memory is constant: one window for each stream and one buffer for the port.
//!
//! The agent must not panic: as process 1 its end would be a kernel panic.

mod clone_identity;
mod cmdline;
mod contents;
mod detached;
mod details;
mod digests;
mod directory_read_ahead;
mod event_loop;
mod exec;
mod files;
mod gather;
mod init;
mod inject;
mod log;
mod mount;
mod pack;
mod parents;
mod port;
mod power;
mod process;
mod records;
mod requests;
mod resident;
mod ring;
mod root;
mod short_work;
mod streams;
mod tasks;
mod tree_lister;
mod unpack;
mod users;
mod walk;
mod worker;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub use mount::survey_console::MARK as SURVEY_MARK;
use mount::{Modules, survey_console};
use port::Port;

/// How long the host's end of the port may be closed before it counts as gone for good.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether this program is the agent: its name is `bivouac-agent`, or `init`, as the kernel calls
/// the first program of an initramfs. The process id proves nothing: `bivouac run` can be process
/// 1 of a container.
pub fn is_wanted() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    name == "bivouac-agent" || name == "init"
}

/// Runs the agent. As process 1 it does not return: it powers the machine off.
///
/// `--fd N` makes it speak over an inherited descriptor instead of the port. `--emergency` is
/// passed by the unit of systemd's emergency mode.
pub fn main() -> ExitCode {
    let is_init = std::process::id() == 1;
    if is_init {
        init::prepare();
        // The driver of the port is in this group. If loading it fails, the host cannot be told.
        if let Err(error) = Modules::of_the_appliance().load("base") {
            log::console(&format!("cannot load the base modules: {error}"));
        }
        if let Some(disks) = cmdline::survey_disks() {
            survey_console::run(disks);
            mount::probe_mount::release_all();
            power::power_off();
        }
    }
    // As process 1 it must survive its own panic.
    let result =
        std::panic::catch_unwind(|| event_loop::serve(open(std::env::args_os().skip(1))?, is_init));
    let result = result.unwrap_or_else(|_| Err(io::Error::other("panicked")));
    if let Err(error) = &result {
        log::console(&error.to_string());
    }
    if is_init {
        mount::probe_mount::release_all();
        power::power_off();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn open(args: impl Iterator<Item = OsString>) -> io::Result<Port> {
    let args: Vec<OsString> = args.collect();
    let mut after = args.iter().skip_while(|arg| *arg != "--fd").skip(1);
    let number = after
        .next()
        .and_then(|number| number.to_str()?.parse().ok());
    let inherited = number.map(crate::sys::inherited).transpose()?;
    // Commands do not inherit the other descriptors that the agent was started with.
    crate::sys::close_on_exec_from(3)?;
    let mut port = match inherited {
        // A socket's end is for good.
        Some(descriptor) => Port::new(descriptor.into(), false, Duration::ZERO)?,
        None => {
            if std::process::id() != 1 {
                port::load_driver();
            }
            // Nobody else can tell the host, which would wait.
            let found = port::find(RECONNECT_TIMEOUT);
            let found = found.inspect_err(|error| log::kernel(&error.to_string()))?;
            Port::new(found, true, RECONNECT_TIMEOUT)?
        }
    };
    let is_emergency = args.iter().any(|arg| arg == "--emergency");
    port.is_emergency = is_emergency && !cmdline::wants_emergency();
    Ok(port)
}
