//! Gets a running guest: cold, warm, or as an appliance.
//!
//! `spec` is what is wanted, as plain data. `prepare` finds out what that means on this host,
//! `start` starts QEMU, and `supervisor` is the event loop of the machine's life, with its `deadlines`.
//!
//! - A guest that boots for commands: `inject` puts the agent into the overlays, `wait_agent` waits
//!   until it is ready, `running` is the result.
//! - A warm start: `warm_start` restores the machine from its template, which `image_template`
//!   finds or builds.
//! - A machine that runs is kept, copied and put back: `live`.
//! - `keep` makes images of the overlays, if that was asked for.
//! - `step` runs the commands that prepare a machine, each for a template of its own, with what
//!   `send_tree` copies into it, and with its output as `capture` keeps it.
//! - `branch` restores any number of machines from one template, at a time.
//! - `keys` opens encrypted volumes, each with the `passphrase`s that fit its `lock`. What this program
//!   does not open itself `cryptsetup` of this host does, `borrowed` by the appliance.
//! - `unpack` decompresses images.
//! - `screen` decides who may see the guest's screen over VNC.
//! - An appliance with an image's disk: `appliance` starts one, `appliance_session` inspects an
//!   image in it.
//!
//! A program may use this floor as a library:
//!
//! ```no_run
//! use bivouac::launch::{self, Command, ExecEnd, Failure, Quiet, StartMode, VmSpec};
//!
//! fn main() -> Result<(), Failure> {
//!     let spec = VmSpec {
//!         start: StartMode::Warm,
//!         ..VmSpec::of_image("debian12.qcow2")
//!     };
//!     let end = launch::run_command(&spec, Command::new(["uname", "-r"]), &Quiet)?;
//!     assert_eq!(end, ExecEnd::Exited(0));
//!     // Several commands in one machine:
//!     launch::with_vm(&spec, &Quiet, async |vm| {
//!         vm.status(Command::new(["systemctl", "stop", "cron"])).await?;
//!         vm.status(Command::new(["test", "-e", "/run/crond.pid"])).await
//!     })?;
//!     Ok(())
//! }
//! ```

pub(crate) mod accelerator;
pub(crate) mod appliance;
pub(crate) mod appliance_session;
mod borrowed;
pub(crate) mod branch;
pub(crate) mod capture;
mod cryptsetup;
mod deadlines;
mod devices;
pub(crate) mod facts;
pub(crate) mod failure;
mod firmware;
pub(crate) mod image_template;
mod images;
mod inject;
pub(crate) mod keep;
mod kept_image;
pub(crate) mod keyboard;
pub mod keys;
pub mod live;
mod lock;
pub(crate) mod outcome;
mod passphrase;
pub(crate) mod prepare;
pub(crate) mod progress;
mod remote;
mod restart;
mod running;
pub(crate) mod save;
mod screen;
pub(crate) mod send_tree;
pub(crate) mod signals;
pub mod spec;
pub(crate) mod start;
mod step;
pub(crate) mod supervisor;
mod unpack;
mod vm;
pub(crate) mod wait_again;
mod wait_agent;
mod warm_start;
mod watchdog;

pub use crate::exit::Status;
pub use crate::image::chain::Request;
pub use crate::image::{Format, Trust};
pub use crate::machine::plan::{Accelerator, Bus, Display, Network, Publish};
pub use crate::session::{Command, ExecEnd, Session, SessionError, Stdio};
pub use failure::Failure;
pub use live::{BranchSpec, Checkpoint, LiveVm};
pub(crate) use outcome::Outcome;
#[doc(hidden)]
pub use progress::{Activity, redraw_with};
pub use progress::{Progress, Quiet};
pub use spec::{Purpose, StartMode, VmSpec};
pub(crate) use vm::block_on;
pub use vm::{Vm, run_command, with_live_vm, with_vm};
