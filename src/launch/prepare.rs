//! From a [`VmSpec`] to a machine that can be started: finds out what the host has, opens the
//! images, makes the overlays, and writes all of it into a [`Plan`]. Starts nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::sync::mpsc;

use super::facts::{Facts, LayerFacts};
use super::failure::Failure;
use super::images::{of_format, resolve};
use super::screen::Screen;
use super::spec::{OverlaySpec, Purpose, StartMode, VmSpec};
use super::{accelerator, devices, firmware};
use crate::appliance::boot;
use crate::host::scratch::Scratch;
use crate::host::{memory_limit, passt, qemu};
use crate::image::Format;
use crate::image::chain::{GivenAs, Request};
use crate::machine::args::argv;
use crate::machine::boot_stop::BootStop;
use crate::machine::console::Sinks;
use crate::machine::console_log::ConsoleLog;
use crate::machine::drives::Drives;
use crate::machine::overlay::Place;
use crate::machine::plan::{
    AGENT_PORT, Accelerator, AgentPort, Disk, Layer, NOT_OPEN, Network, Plan,
};
use crate::machine::{Channels, HeldResources};
use crate::text::escape::shell_line;

/// A machine ready to be started, with everything that it holds open.
#[derive(Debug)]
pub(crate) struct PreparedVm {
    pub plan: Plan,
    pub drives: Drives,
    /// How many bytes QEMU may write to one file.
    pub max_write: Option<u64>,
    /// A file that gets a copy of the console.
    pub console_log: Option<ConsoleLog>,
    /// One line that says what is being started.
    pub headline: String,
    /// Who may see its screen.
    pub screen: Screen,
    /// Why it cannot boot, as its first sectors show.
    pub boot_stop: Option<&'static BootStop>,
}

impl PreparedVm {
    /// Where the console's output goes: to `output`, and to the console log if there is one.
    pub fn sinks(&self, output: Option<mpsc::Sender<Vec<u8>>>) -> Result<Sinks, Failure> {
        let log = self
            .console_log
            .as_ref()
            .map(ConsoleLog::try_clone)
            .transpose();
        let log = log.context("--console-log")?;
        Ok(Sinks { output, log })
    }

    /// What QEMU is started with besides its arguments.
    pub fn resources(
        &self,
        channels: Channels,
        sinks: Sinks,
        input: mpsc::Receiver<Vec<u8>>,
    ) -> HeldResources<'_> {
        HeldResources {
            channels,
            files: self.drives.files(),
            remotes: self.drives.remotes(),
            max_file_size: self.max_write,
            sinks,
            input,
        }
    }

    /// Opens the channels for the next start.
    pub fn connect(&mut self) -> std::io::Result<Channels> {
        boot::open_channels(&mut self.plan)
    }

    /// QEMU's command line, quoted for a shell.
    pub fn command_line(&mut self) -> Result<String, Failure> {
        let _channels = self.connect().context("making QEMU's channels")?;
        let program = self.plan.qemu.as_os_str().to_owned();
        Ok(shell_line(std::iter::once(program).chain(argv(&self.plan))))
    }
}

/// Prepares the machine of `spec`. What is learnt on the way goes into `facts`, also if it fails.
pub(crate) fn prepare(spec: &VmSpec, facts: &mut Facts) -> Result<PreparedVm, Failure> {
    let qemu = qemu::find(spec.qemu.as_deref())?;
    facts.qemu = Some(qemu.clone());
    let mut drives = Drives::new(place(&spec.overlay)?);
    let machine = devices::machine_type(spec)?;
    devices::check_room(spec)?;
    devices::check_sectors(spec)?;
    devices::check_remote(spec)?;
    devices::check_qemu_args(spec)?;
    let (disks, mut cdroms) = open_disks(spec, &mut drives)?;
    let (firmware, boot_stop) = firmware::choose(spec, &mut drives, &machine)?;
    for iso in &spec.cdroms {
        let request = of_format(iso.clone(), Some(Format::Raw));
        let given_as = GivenAs::Cdrom;
        let chain = resolve(&Request {
            given_as,
            ..request
        })?;
        cdroms.push(drives.read_only(chain));
    }
    facts.layers = LayerFacts::of(drives.chains());
    facts.phases.mark("images");
    let accelerator = accelerator::choose(spec.accelerator, &mut facts.accelerator)?;
    facts.phases.mark("kvm-check");
    let has_agent = spec.purpose == Purpose::Commands || spec.start == StartMode::Warm;
    let plan = Plan {
        qemu,
        machine,
        accelerator,
        tcg_buffer_mib: memory_limit::tcg_buffer_mib(spec.memory_mib),
        cpu: match &spec.cpu {
            Some(model) => model.clone(),
            None => accelerator.default_cpu().to_owned(),
        },
        cpus: spec.cpus,
        memory_mib: spec.memory_mib,
        firmware,
        bus: spec.bus,
        disks,
        cdroms,
        kernel: (spec.kernel.as_ref())
            .map(devices::direct_kernel)
            .transpose()?,
        network: network(&spec.network)?,
        display: spec.display.clone(),
        reboot: spec.reboot,
        qmp: NOT_OPEN,
        console: NOT_OPEN,
        agent: has_agent.then_some(AgentPort {
            fd: NOT_OPEN,
            name: AGENT_PORT,
        }),
        snapshot: None,
        extra: spec.qemu_args.clone(),
        sandbox: spec.sandbox.clone(),
    };
    Ok(PreparedVm {
        headline: headline(spec, accelerator),
        plan,
        drives,
        max_write: spec.overlay.max_write,
        console_log: None,
        screen: Screen::new(&spec.display)?,
        boot_stop,
    })
}

/// The network with the path of its program.
fn network(wanted: &Network) -> Result<Network, Failure> {
    let mut network = wanted.clone();
    if let Network::Internet { passt, .. } = &mut network {
        *passt = passt::find(passt)?;
    }
    Ok(network)
}

pub(crate) fn place(spec: &OverlaySpec) -> Result<Place, Failure> {
    if spec.in_memory {
        return Ok(Place::Memory);
    }
    let scratch = Scratch::choose(spec.directory.as_deref())?;
    // A run may be prepared twice.
    static WARNED: AtomicBool = AtomicBool::new(false);
    if let Some(warning) = scratch.warning()
        && !WARNED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!("{warning}");
    }
    Ok(Place::Directory(scratch))
}

fn open_disks(spec: &VmSpec, drives: &mut Drives) -> Result<(Vec<Disk>, Vec<Layer>), Failure> {
    let (mut disks, mut cdroms) = (Vec::new(), Vec::new());
    if let Some(image) = &spec.image {
        let chain = resolve(image)?;
        // An ISO that boots only from a CD-ROM drive is put into one, and needs no overlay.
        if chain.top().is_optical_only() {
            cdroms.push(drives.read_only(chain));
        } else {
            disks.push(drives.disk("disk0", chain, None)?);
        }
    }
    for disk in &spec.disks {
        let name = format!("disk{}", disks.len());
        let made = drives.disk(&name, resolve(&disk.request())?, disk.serial.clone())?;
        disks.push(Disk {
            sector_size: disk.sector_size,
            ..made
        });
    }
    Ok((disks, cdroms))
}

fn headline(spec: &VmSpec, accelerator: Accelerator) -> String {
    let image = spec.image.as_ref().map(|request| &request.image);
    let what = image.or(spec.kernel.as_ref().map(|kernel| &kernel.kernel));
    let name = what.and_then(|path| path.file_name()).unwrap_or_default();
    let accelerator = match accelerator {
        Accelerator::Tcg => "TCG",
        Accelerator::Kvm | Accelerator::KvmThenTcg => "KVM",
    };
    format!(
        "starting {} ({accelerator}; Ctrl-A X leaves)",
        name.display()
    )
}
