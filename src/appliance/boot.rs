//! Boots the appliance: from its configuration and disks to a session with its agent.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{ApplianceError, COMMAND_LINE};
use crate::host::kernel::Kernel;
use crate::linux::proc_fd;
use crate::machine::args::argv;
use crate::machine::console::Sinks;
use crate::machine::drives::{DriveError, Drives};
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::machine::plan::{
    AGENT_PORT, Accelerator, AgentPort, Bus, ChildFd, DirectKernel, Disk, Display, Firmware,
    MemoryMapping, Network, Plan, SnapshotConfig,
};
use crate::machine::{Channels, HeldResources, Machine, MachineEvent, StartError};
use crate::session::{Session, SessionError};

/// How long the appliance may take until its agent answers. It needs 1 to 5 s; emulated on a busy
/// host, ten times that.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// The default memory of an appliance, in MiB.
pub(crate) const DEFAULT_MEMORY_MIB: u64 = 1024;

/// Where the appliance mounts roots of images.
pub(crate) const ROOT: &str = "/sysroot";

/// What an appliance is made of.
#[derive(Clone, Debug)]
pub struct ApplianceConfig {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// What runs the guest's CPUs.
    pub accelerator: Accelerator,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// The kernel, with its modules.
    pub kernel: Kernel,
    /// Records when each step was over.
    pub phases: Phases,
}

impl ApplianceConfig {
    /// The same with one accelerator and no other: QEMU would restore a machine that KVM ran
    /// where only emulation is left, and the other way round.
    pub fn with_one_accelerator(&self) -> Self {
        Self {
            accelerator: match self.accelerator {
                // Only if it was seen to run a guest.
                Accelerator::Kvm | Accelerator::KvmThenTcg => Accelerator::Kvm,
                Accelerator::Tcg => Accelerator::Tcg,
            },
            ..self.clone()
        }
    }
}

/// A machine that runs the appliance, and the session with its agent.
#[derive(Debug)]
pub(crate) struct Appliance {
    /// Dropped, it kills QEMU.
    pub machine: Machine,
    /// Its agent is process 1.
    pub session: Session,
}

/// Why there is no appliance.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Its kernel or initramfs could not be made.
    #[error(transparent)]
    Made(#[from] ApplianceError),
    /// QEMU did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An image changed meanwhile.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The machine ended before its agent answered.
    #[error("the appliance ended before its agent answered: {}{}", end.as_str(), quoted(console))]
    Ended {
        /// How.
        end: End,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The agent did not answer.
    #[error("the appliance's agent{}", quoted(console))]
    Agent {
        /// Why.
        #[source]
        source: SessionError,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// A system call on this host failed.
    #[error("watching the appliance")]
    Io(#[from] std::io::Error),
}

impl BootError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Made(error) => error.hint(),
            Self::Drive(error) => error.hint(),
            Self::Ended { .. } | Self::Agent { .. } => Some(
                "another kernel, by --kernel FILE; `bivouac doctor` tells which is used".into(),
            ),
            Self::Start(_) | Self::Io(_) => None,
        }
    }
}

fn quoted(console: &[String]) -> String {
    match console {
        [] => String::new(),
        lines => format!("\nits console said:\n  {}", lines.join("\n  ")),
    }
}

/// QEMU's ends of the channels, and what the appliance boots.
#[derive(Debug)]
pub(crate) struct AppliancePorts {
    pub qmp: ChildFd,
    pub console: ChildFd,
    pub agent: Option<AgentPort>,
    /// Kernel and initramfs; None if the machine is restored.
    pub kernel: Option<(PathBuf, PathBuf)>,
}

impl AppliancePorts {
    pub fn of(channels: &Channels) -> Self {
        Self {
            qmp: channels.qmp_fd(),
            console: channels.console_fd(),
            agent: channels.agent_fd(),
            kernel: None,
        }
    }

    /// With a kernel and an initramfs, both inherited.
    pub fn with_kernel(self, kernel: &File, initramfs: &File) -> Self {
        Self {
            kernel: Some((proc_fd::path(kernel), proc_fd::path(initramfs))),
            ..self
        }
    }
}

/// The machine type of an appliance; QEMU's name for it has a version.
pub const MACHINE: &str = "q35";

/// The plan of an appliance: the disks on virtio-blk, no network, no screen.
pub(crate) fn plan(config: &ApplianceConfig, disks: Vec<Disk>, ports: AppliancePorts) -> Plan {
    Plan {
        qemu: config.qemu.clone(),
        machine: MACHINE.to_owned(),
        accelerator: config.accelerator,
        cpu: processor(config.accelerator).to_owned(),
        cpus: config.cpus,
        memory_mib: config.memory_mib,
        firmware: match qboot(&config.qemu) {
            Some(path) => Firmware::File(path),
            None => Firmware::Bios,
        },
        bus: Bus::Virtio,
        disks,
        cdroms: Vec::new(),
        kernel: ports.kernel.map(|(kernel, initrd)| DirectKernel {
            kernel,
            initrd: Some(initrd),
            command_line: COMMAND_LINE.to_owned(),
        }),
        network: Network::None,
        display: Display::None,
        reboot: false,
        qmp: ports.qmp,
        console: ports.console,
        agent: ports.agent,
        snapshot: None,
        extra: Vec::new(),
    }
}

/// The plan of an appliance that can be saved with so many placeholder disks, with fixed numbers for
/// everything that it inherits: equal for all appliances that can share a template.
pub(crate) fn nominal_plan(config: &ApplianceConfig, placeholders: usize) -> Plan {
    let ports = AppliancePorts {
        qmp: ChildFd(3),
        console: ChildFd(4),
        agent: Some(AgentPort {
            fd: ChildFd(5),
            name: AGENT_PORT,
        }),
        kernel: Some(("kernel".into(), "initramfs".into())),
    };
    Plan {
        snapshot: Some(SnapshotConfig {
            memory: ChildFd(6),
            mapping: MemoryMapping::Shared,
            placeholder_disks: placeholders,
            generation_id: false,
        }),
        ..plan(config, Vec::new(), ports)
    }
}

/// What the kernel uses if it is there, and what is slower than doing without if every instruction
/// is emulated: copies and clearings byte by byte (erms, fsrm), a fifth level of page
/// tables (la57), and the ends of translated blocks that come with each copy to or from a program
/// (smap) or with each switch (pku). None of it is in a level of x86-64 that programs are made for.
fn processor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Tcg => "max,erms=off,fsrm=off,la57=off,smap=off,pku=off",
        Accelerator::Kvm | Accelerator::KvmThenTcg => "max",
    }
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
pub(crate) fn headless(
    channels: Channels,
    files: Vec<BorrowedFd<'_>>,
    max_file_size: Option<u64>,
) -> HeldResources<'_> {
    HeldResources {
        channels,
        files,
        max_file_size,
        sinks: Sinks::default(),
        input: mpsc::channel(1).1,
    }
}

/// Boots an appliance with `disks`, which are among `drives`. Needs what [`Machine::start`]
/// needs.
pub(crate) async fn boot(
    config: &ApplianceConfig,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Appliance, BootError> {
    let made = super::make(&config.kernel)?;
    config.phases.mark("initramfs");
    let channels = Channels::new(true)?;
    let ports = AppliancePorts::of(&channels).with_kernel(&made.kernel, &made.initramfs);
    let plan = plan(config, disks, ports);
    let mut files: Vec<BorrowedFd<'_>> = drives.files();
    files.extend([made.kernel.as_fd(), made.initramfs.as_fd()]);
    let resources = headless(channels, files, max_write);
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), resources).await?;
    config.phases.mark_at("spawned", machine.spawned());
    config.phases.mark("greeted");
    drives.check_headers()?;
    machine.cont().await?;
    config.phases.mark("running");
    let session = connect(&mut machine, BOOT_LIMIT).await?;
    config.phases.mark("agent");
    Ok(Appliance { machine, session })
}

/// Waits for the agent, unless the machine ends first.
pub(crate) async fn connect(machine: &mut Machine, limit: Duration) -> Result<Session, BootError> {
    let Some(port) = machine.take_agent() else {
        return Err(std::io::Error::other("the machine has no port for an agent").into());
    };
    let connected = tokio::select! {
        session = Session::connect(port, limit) => session,
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
async fn ended(machine: &mut Machine) -> std::io::Result<End> {
    loop {
        if let MachineEvent::Ended(end) = machine.next().await? {
            return Ok(end);
        }
    }
}
