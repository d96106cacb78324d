//! Boots the appliance: from its configuration and disks to a session with its agent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{ApplianceError, COMMAND_LINE};
use crate::host::kernel::Kernel;
use crate::host::memory_limit;
use crate::linux::proc_fd;
use crate::machine::console::{Sinks, Watch};
use crate::machine::drives::{DriveError, Drives};
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::machine::plan::{
    AGENT_PORT, Accelerator, AgentPort, Bus, ChildFd, DirectKernel, Disk, Display, Firmware,
    MemoryMapping, Network, Plan, SnapshotConfig,
};
use crate::machine::{Channels, HeldResources, Machine, MachineEvent, StartError};
use crate::sandbox;
use crate::session::{Session, SessionError};

/// How long the appliance may take until its agent answers. It needs 1 to 5 s; emulated on a busy
/// host, ten times that.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// The default memory of an appliance, in MiB.
pub(crate) const DEFAULT_MEMORY_MIB: u64 = 1024;

/// Where the appliance mounts roots of images.
pub(crate) const ROOT: &str = "/sysroot";

#[derive(Clone, Debug)]
pub struct ApplianceConfig {
    pub qemu: PathBuf,
    pub accelerator: Accelerator,
    pub memory_mib: u64,
    pub cpus: u32,
    pub kernel: Kernel,
    pub sandbox: sandbox::Settings,
    /// Records when each step was over.
    pub phases: Phases,
}

impl ApplianceConfig {
    /// The same with one accelerator and no other: QEMU would restore a machine that KVM ran
    /// where only emulation is left, and the other way round.
    pub fn with_one_accelerator(&self) -> Self {
        Self {
            accelerator: match self.accelerator {
                // KVM was seen to run a guest.
                Accelerator::KvmThenTcg => Accelerator::Kvm,
                one => one,
            },
            ..self.clone()
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Made(#[from] ApplianceError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("the appliance ended before its agent answered: {}{}", end.as_str(), quoted(console))]
    Ended { end: End, console: Vec<String> },
    #[error("the appliance's agent{}", quoted(console))]
    Agent {
        #[source]
        source: SessionError,
        console: Vec<String>,
    },
    #[error("watching the appliance")]
    Io(#[from] io::Error),
}

impl BootError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Made(error) => error.hint(),
            Self::Drive(error) => error.hint(),
            Self::Ended { .. } | Self::Agent { .. } => Some(
                "set BIVOUAC_KERNEL to another kernel; `bivouac doctor` shows the one used".into(),
            ),
            Self::Start(_) | Self::Io(_) => None,
        }
    }
}

fn quoted(console: &[String]) -> String {
    match console {
        [] => String::new(),
        lines => format!("\nits console output:\n  {}", lines.join("\n  ")),
    }
}

/// The machine type of an appliance; QEMU's name for it has a version.
pub const MACHINE: &str = "q35";

/// The plan of an appliance: the disks on virtio-blk, no network, no screen. It has no kernel yet,
/// and fixed numbers for everything that it inherits.
pub(crate) fn plan(config: &ApplianceConfig, disks: Vec<Disk>) -> Plan {
    Plan {
        qemu: config.qemu.clone(),
        machine: MACHINE.to_owned(),
        accelerator: config.accelerator,
        tcg_buffer_mib: memory_limit::tcg_buffer_mib(config.memory_mib),
        cpu: config.accelerator.default_cpu().to_owned(),
        cpus: config.cpus,
        memory_mib: config.memory_mib,
        firmware: match qboot(&config.qemu) {
            Some(path) => Firmware::File(path),
            None => Firmware::Bios,
        },
        bus: Bus::Virtio,
        disks,
        cdroms: Vec::new(),
        kernel: None,
        network: Network::None,
        display: Display::None,
        reboot: false,
        qmp: ChildFd(3),
        console: ChildFd(4),
        agent: Some(AgentPort {
            fd: ChildFd(5),
            name: AGENT_PORT,
        }),
        snapshot: None,
        extra: Vec::new(),
        sandbox: config.sandbox.clone(),
    }
}

/// The plan of an appliance that can be saved with so many empty disks: equal for all
/// appliances that can share a template.
pub(crate) fn nominal_plan(config: &ApplianceConfig, empty_disks: usize) -> Plan {
    Plan {
        kernel: Some(direct_kernel("kernel".into(), "initramfs".into())),
        snapshot: Some(to_be_saved(ChildFd(6), empty_disks)),
        tcg_buffer_mib: None,
        ..plan(config, Vec::new())
    }
}

fn direct_kernel(kernel: PathBuf, initramfs: PathBuf) -> DirectKernel {
    DirectKernel {
        kernel,
        initrd: Some(initramfs),
        command_line: COMMAND_LINE.to_owned(),
    }
}

fn to_be_saved(memory: ChildFd, empty_disks: usize) -> SnapshotConfig {
    SnapshotConfig {
        memory,
        mapping: MemoryMapping::Shared,
        empty_disks,
        generation_id: false,
        devices_only: false,
    }
}

/// Opens the channels of the machine of `plan`, and puts QEMU's ends into it.
pub(crate) fn open_channels(plan: &mut Plan) -> io::Result<Channels> {
    let mut channels = Channels::new(plan.agent.is_some())?;
    if let Network::Internet { socket, .. } = &mut plan.network {
        *socket = channels.add_network()?;
    }
    plan.qmp = channels.qmp_fd();
    plan.console = channels.console_fd();
    if let (Some(port), Some(connected)) = (&mut plan.agent, channels.agent_fd()) {
        port.fd = connected.fd;
    }
    Ok(channels)
}

/// A firmware that does nothing but start a kernel, 0.3 s faster than SeaBIOS under emulation. It
/// comes with QEMU, beside QEMU's other files.
fn qboot(qemu: &Path) -> Option<PathBuf> {
    let prefix = qemu.parent()?.parent()?;
    ["share/qemu/qboot.rom", "share/qboot/qboot.rom"]
        .into_iter()
        .map(|name| prefix.join(name))
        .find(|path| path.is_file())
}

/// What QEMU is started with when its console has no input, and no output but the tail.
pub(crate) fn headless<'a>(
    channels: Channels,
    drives: &'a Drives,
    more: Vec<BorrowedFd<'a>>,
    max_file_size: Option<u64>,
) -> HeldResources<'a> {
    HeldResources {
        channels,
        files: [drives.files(), more].concat(),
        remotes: drives.remotes(),
        max_file_size,
        sinks: Sinks::default(),
        input: mpsc::channel(1).1,
    }
}

/// The disks of an appliance, and what they are made of.
#[derive(Debug)]
pub(crate) struct Storage<'a> {
    pub drives: &'a Drives,
    /// All disks that are among the drives.
    pub disks: Vec<Disk>,
    /// How many bytes may be written to each disk.
    pub max_write: Option<u64>,
}

/// Boots an appliance. One that is to be saved has this file for its memory, and so many
/// empty disks. Needs what [`Machine::start`] needs.
pub(crate) async fn boot(
    config: &ApplianceConfig,
    storage: &Storage<'_>,
    saved: Option<(&File, usize)>,
) -> Result<(Machine, Session), BootError> {
    let made = super::make(&config.kernel)?;
    config.phases.mark("initramfs");
    let mut plan = plan(config, storage.disks.clone());
    let channels = open_channels(&mut plan)?;
    let [kernel, initramfs] = [&made.kernel, &made.initramfs].map(proc_fd::path);
    plan.kernel = Some(direct_kernel(kernel, initramfs));
    let mut files = vec![made.kernel.as_fd(), made.initramfs.as_fd()];
    if let Some((memory, empty_disks)) = saved {
        plan.snapshot = Some(to_be_saved(ChildFd(memory.as_raw_fd()), empty_disks));
        files.push(memory.as_fd());
    }
    let resources = headless(channels, storage.drives, files, storage.max_write);
    let mut machine = Machine::start(&plan, resources).await?;
    config.phases.mark_at("spawned", machine.spawned());
    config.phases.mark("greeted");
    storage.drives.check_headers()?;
    machine.cont().await?;
    config.phases.mark("running");
    let watch = Watch::begin();
    let session = connect(&mut machine, BOOT_LIMIT).await?;
    drop(watch);
    config.phases.mark("agent");
    Ok((machine, session))
}

/// Waits for the agent, unless the machine ends first.
pub(crate) async fn connect(machine: &mut Machine, limit: Duration) -> Result<Session, BootError> {
    connect_by(machine, async |port| Session::connect(port, limit).await).await
}

/// [`connect`] by another handshake.
pub(crate) async fn connect_by(
    machine: &mut Machine,
    connect: impl AsyncFnOnce(UnixStream) -> Result<Session, SessionError>,
) -> Result<Session, BootError> {
    let Some(port) = machine.take_agent() else {
        return Err(io::Error::other("the machine has no port for an agent").into());
    };
    let connected = tokio::select! {
        session = connect(port) => session,
        end = ended(machine) => return Err(early(end?, machine)),
    };
    match connected {
        Ok(session) => Ok(session),
        // The machine's own end says more than that its port is closed.
        Err(source) => match tokio::time::timeout(END_FOLLOWS, ended(machine)).await {
            Ok(end) => Err(early(end?, machine)),
            Err(_) => Err(BootError::Agent {
                source,
                console: machine.console_tail(),
            }),
        },
    }
}

fn early(end: End, machine: &Machine) -> BootError {
    BootError::Ended {
        end,
        console: machine.console_tail(),
    }
}

/// How long after its agent's end a machine's own end may follow.
const END_FOLLOWS: Duration = Duration::from_millis(500);

/// Waits for the machine's end. May be dropped and called again.
async fn ended(machine: &mut Machine) -> io::Result<End> {
    loop {
        if let MachineEvent::Ended(end) = machine.next().await? {
            return Ok(end);
        }
    }
}
