//! Boots the appliance: from settings and disks to a session with the agent in it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::appliance::{self, ApplianceError, COMMAND_LINE};
use super::session::{Session, SessionError};
use crate::host::kernel::Kernel;
use crate::linux::proc_fd;
use crate::machine::args::argv;
use crate::machine::console::Sinks;
use crate::machine::drives::{DriveError, Drives};
use crate::machine::end::End;
use crate::machine::phases::Phases;
use crate::machine::plan::{
    AGENT_PORT, Accelerator, AgentPort, Bus, ChildFd, DirectKernel, Disk, Display, Firmware,
    Network, Plan, Saving, UseOfMemory,
};
use crate::machine::{Channels, Holdings, Machine, News, StartError};

/// How long the appliance may take until its agent answers. It needs 1 to 5 s; under emulation
/// on a host with much else to do, ten times that.
const DEADLINE: Duration = Duration::from_secs(180);

/// The memory of an appliance where nothing else is asked for, in MiB.
pub const DEFAULT_MEMORY_MIB: u64 = 1024;

/// Where images' roots are mounted in the appliance.
pub const ROOT: &str = "/sysroot";

/// What an appliance is made of.
#[derive(Clone, Debug)]
pub struct Settings {
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
    /// Where it is taken down what took how long.
    pub phases: Phases,
}

impl Settings {
    /// The same with one accelerator and no other: QEMU would restore a machine that KVM ran
    /// where only emulation is left, and the other way round.
    pub fn with_one_accelerator(&self) -> Self {
        Self {
            accelerator: match self.accelerator {
                // Only where it was seen to run a guest.
                Accelerator::Kvm | Accelerator::KvmThenTcg => Accelerator::Kvm,
                Accelerator::Tcg => Accelerator::Tcg,
            },
            ..self.clone()
        }
    }
}

/// A machine that runs the appliance, and the session with its agent.
#[derive(Debug)]
pub struct Appliance {
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
    #[error("the appliance ended before its agent answered: {}{}", end.word(), quoted(console))]
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
    /// Something of this host's.
    #[error("watching the appliance")]
    Io(#[from] std::io::Error),
}

impl BootError {
    /// What helps.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Made(error) => error.mend(),
            Self::Drive(error) => error.mend(),
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

/// QEMU's ends of the channels, and what the appliance is started from.
#[derive(Debug)]
pub struct Ends {
    /// QMP.
    pub qmp: ChildFd,
    /// The serial port.
    pub console: ChildFd,
    /// The agent's port.
    pub agent: Option<AgentPort>,
    /// Kernel and initramfs; none where the machine is restored.
    pub kernel: Option<(PathBuf, PathBuf)>,
}

impl Ends {
    /// Those of `channels`.
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
pub fn plan(settings: &Settings, disks: Vec<Disk>, ends: Ends) -> Plan {
    Plan {
        qemu: settings.qemu.clone(),
        machine: MACHINE.to_owned(),
        accelerator: settings.accelerator,
        cpu: processor(settings.accelerator).to_owned(),
        cpus: settings.cpus,
        memory_mib: settings.memory_mib,
        firmware: match qboot(&settings.qemu) {
            Some(path) => Firmware::File(path),
            None => Firmware::Bios,
        },
        bus: Bus::Virtio,
        disks,
        cdroms: Vec::new(),
        kernel: ends.kernel.map(|(kernel, initrd)| DirectKernel {
            kernel,
            initrd: Some(initrd),
            command_line: COMMAND_LINE.to_owned(),
        }),
        network: Network::None,
        display: Display::None,
        reboot: false,
        qmp: ends.qmp,
        console: ends.console,
        agent: ends.agent,
        saving: None,
        extra: Vec::new(),
    }
}

/// The plan of an appliance that can be saved with so many disks to come, with made up numbers
/// for all that it inherits: what two such appliances have in common.
pub fn nominal_plan(settings: &Settings, vacant_disks: usize) -> Plan {
    let ends = Ends {
        qmp: ChildFd(3),
        console: ChildFd(4),
        agent: Some(AgentPort {
            fd: ChildFd(5),
            name: AGENT_PORT,
        }),
        kernel: Some(("kernel".into(), "initramfs".into())),
    };
    Plan {
        saving: Some(Saving {
            memory: ChildFd(6),
            use_of_memory: UseOfMemory::Shared,
            vacant_disks,
            generation_id: false,
        }),
        ..plan(settings, Vec::new(), ends)
    }
}

/// What the kernel uses where it is there, and what takes longer than doing without where each
/// instruction is emulated: copies and clearings byte by byte (erms, fsrm), a fifth level of page
/// tables (la57), and the ends of translated blocks that come with each copy to or from a program
/// (smap) or with each switch (pku). None of it is in a level of x86-64 that programs are made for.
fn processor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Tcg => "max,erms=off,fsrm=off,la57=off,smap=off,pku=off",
        Accelerator::Kvm | Accelerator::KvmThenTcg => "max",
    }
}

/// A firmware that does nothing but start a kernel, 0.3 s faster than SeaBIOS where all is
/// emulated. It comes with QEMU, and lies where QEMU's other files do.
fn qboot(qemu: &Path) -> Option<PathBuf> {
    let prefix = qemu.parent()?.parent()?;
    ["share/qemu/qboot.rom", "share/qboot/qboot.rom"]
        .into_iter()
        .map(|name| prefix.join(name))
        .find(|path| path.is_file())
}

/// Boots an appliance with `disks`, which are among `drives`. Needs what [`Machine::start`]
/// needs.
///
/// # Errors
/// See [`BootError`].
pub async fn boot(
    settings: &Settings,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Appliance, BootError> {
    let made = appliance::make(&settings.kernel)?;
    settings.phases.mark("initramfs");
    let channels = Channels::new(true)?;
    let ends = Ends::of(&channels).with_kernel(&made.kernel, &made.initramfs);
    let plan = plan(settings, disks, ends);
    let mut files: Vec<BorrowedFd<'_>> = drives.files();
    files.extend([made.kernel.as_fd(), made.initramfs.as_fd()]);
    let holdings = Holdings {
        channels,
        files,
        max_file_size: max_write,
        sinks: Sinks {
            output: None,
            log: None,
        },
        // Nobody types at an appliance.
        input: mpsc::channel(1).1,
    };
    let mut machine = Machine::start(plan.qemu.clone(), &argv(&plan), holdings).await?;
    settings.phases.mark_at("spawned", machine.spawned());
    settings.phases.mark("greeted");
    drives.check_headers()?;
    machine.cont().await?;
    settings.phases.mark("running");
    let session = wait_for_agent(&mut machine).await?;
    settings.phases.mark("agent");
    Ok(Appliance { machine, session })
}

/// Waits for the agent of an appliance that boots.
///
/// # Errors
/// See [`BootError`].
pub async fn wait_for_agent(machine: &mut Machine) -> Result<Session, BootError> {
    greet(machine, DEADLINE).await
}

/// Waits for the agent, unless the machine ends first.
///
/// # Errors
/// See [`BootError`].
pub async fn greet(machine: &mut Machine, deadline: Duration) -> Result<Session, BootError> {
    let Some(port) = machine.take_agent() else {
        return Err(std::io::Error::other("the machine has no port for an agent").into());
    };
    let connected = tokio::select! {
        session = Session::connect(port, deadline) => session,
        end = ended(machine) => return Err(early(end?, machine)),
    };
    match connected {
        Ok(session) => Ok(session),
        // The machine's own end says more than that its port is closed.
        Err(source) => match tokio::time::timeout(LAST_WORDS, ended(machine)).await {
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

/// How long a machine's end may follow that of its agent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Waits for the machine's end. May be dropped and called again.
async fn ended(machine: &mut Machine) -> std::io::Result<End> {
    loop {
        if let News::Ended(end) = machine.next().await? {
            return Ok(end);
        }
    }
}
