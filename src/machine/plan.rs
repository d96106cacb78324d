//! A machine as plain data: what `args` turns into QEMU's command line. Nothing here touches
//! the host; descriptors appear as numbers that the child will inherit.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::image::Format;

/// The number of a descriptor that QEMU inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildFd(pub i32);

/// The name of the agent's port in the guest.
pub const AGENT_PORT: &str = "org.bivouac.agent.0";

/// A virtio-serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentPort {
    /// A connected socket.
    pub fd: ChildFd,
    /// By which the guest finds it.
    pub name: &'static str,
}

/// One virtual machine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// Machine type, such as `q35` or `pc`.
    pub machine: String,
    /// Accelerators in the order in which QEMU tries them.
    pub accelerator: Accelerator,
    /// CPU model; `max` fits both accelerators.
    pub cpu: String,
    /// Number of virtual CPUs, 1 or more.
    pub cpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// What runs first.
    pub firmware: Firmware,
    /// Where disks are attached.
    pub bus: Bus,
    /// Disks in boot order.
    pub disks: Vec<Disk>,
    /// CD-ROMs, read-only, after the disks in boot order.
    pub cdroms: Vec<Layer>,
    /// A kernel that QEMU loads itself.
    pub kernel: Option<DirectKernel>,
    /// The guest's network.
    pub network: Network,
    /// Where the guest's screen is shown.
    pub display: Display,
    /// Whether a reset by the guest starts it again, instead of ending the machine.
    pub reboot: bool,
    /// QMP's end for QEMU: a connected socket.
    pub qmp: ChildFd,
    /// The serial port's end for QEMU: a connected socket.
    pub console: ChildFd,
    /// The agent's end for QEMU, where there is an agent: a connected socket, which the guest
    /// sees as the virtio-serial port [`AGENT_PORT`].
    pub agent: Option<AgentPort>,
    /// Whether it can be saved, or is restored from what was.
    pub snapshot: Option<SnapshotConfig>,
    /// The user's own arguments, last.
    pub extra: Vec<OsString>,
}

impl Plan {
    /// The same with made up numbers for all that is inherited, to be saved: what it has in
    /// common with every other machine that can be restored from what it saves. The host's ends
    /// of its network are no part of that.
    pub fn nominal(&self) -> Self {
        let mut numbers = (3..).map(ChildFd);
        let mut next = || numbers.next().unwrap_or(ChildFd(0));
        let mut plan = self.clone();
        (plan.qmp, plan.console) = (next(), next());
        if let Some(port) = &mut plan.agent {
            port.fd = next();
        }
        let mut firmware = match &mut plan.firmware {
            Firmware::Uefi { code, vars } => Some((code, vars)),
            Firmware::Bios | Firmware::File(_) => None,
        };
        let vars = firmware.iter_mut().map(|(_, vars)| &mut **vars);
        for disk in plan.disks.iter_mut().chain(vars) {
            disk.overlay = next();
            disk.layers.iter_mut().for_each(|layer| layer.fd = next());
        }
        let code = firmware.into_iter().map(|(code, _)| code);
        plan.cdroms
            .iter_mut()
            .chain(code)
            .for_each(|layer| layer.fd = next());
        if let Network::User { publish } = &mut plan.network {
            publish.clear();
        }
        plan.snapshot = Some(SnapshotConfig {
            memory: next(),
            mapping: MemoryMapping::Shared,
            placeholder_disks: 0,
            generation_id: true,
        });
        plan
    }
}

/// What a machine has that is saved or restored. Its devices are at fixed places, so that both
/// have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// The file that is the guest's memory, as large as that.
    pub memory: ChildFd,
    /// What may become of the file.
    pub mapping: MemoryMapping,
    /// How many disks without a byte it has, on [`Bus::Virtio`]. A machine that is restored may
    /// have real ones in their place, and grows them ([`super::Machine::grow_disk`]).
    pub placeholder_disks: usize,
    /// Whether the guest is told by a VM generation id that it is another machine than before
    /// (Microsoft's "Virtual Machine Generation ID"; QEMU's vmgenid).
    pub generation_id: bool,
}

/// How a machine's memory is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMapping {
    /// The machine writes to it, to be saved: the file holds its memory then.
    Shared,
    /// The machine is restored from it and keeps its writes to itself. QEMU opens the file for
    /// writing all the same; all that versions before 8.2 know.
    CopyOnWrite,
    /// The same with a file that is opened for reading only, from QEMU 8.2 on.
    CopyOnWriteReadOnly,
}

impl MemoryMapping {
    /// What QEMU of this version (major, minor) knows best for a clone.
    pub fn for_clone((major, minor): (u64, u64)) -> Self {
        match (major, minor) >= (8, 2) {
            true => Self::CopyOnWriteReadOnly,
            false => Self::CopyOnWrite,
        }
    }
}

/// QEMU's accelerator, as asked for on its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM, else TCG.
    KvmThenTcg,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    /// Whether QEMU is to use KVM where it can.
    pub fn may_be_kvm(self) -> bool {
        self != Self::Tcg
    }

    /// The value of `-machine accel=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KvmThenTcg => "kvm:tcg",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The machine's firmware.
#[derive(Clone, Debug)]
pub enum Firmware {
    /// QEMU's own default, SeaBIOS.
    Bios,
    /// A firmware image for `-bios`.
    File(PathBuf),
    /// UEFI in two flash chips.
    Uefi {
        /// The program, read-only.
        code: Layer,
        /// The variable store, throwaway like a disk.
        vars: Disk,
    },
}

/// Where disks are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bus {
    /// virtio-blk: the fastest; needs a driver in the guest
    Virtio,
    /// virtio-scsi
    Scsi,
    /// AHCI
    Sata,
    /// PIIX IDE, on machine type pc
    Ide,
    /// NVM Express
    Nvme,
}

/// One disk: an overlay that takes the writes over read-only layers.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The unlinked overlay, opened read-write.
    pub overlay: ChildFd,
    /// Top first; never empty.
    pub layers: Vec<Layer>,
    /// Serial number that the guest sees.
    pub serial: Option<String>,
}

/// One read-only layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Opened O_RDONLY.
    pub fd: ChildFd,
    /// Told to QEMU, which never guesses.
    pub format: Format,
    /// A block device rather than a regular file.
    pub block_device: bool,
    /// For people who read the command line: the file's path.
    pub label: String,
}

/// A kernel that QEMU loads without a boot loader.
#[derive(Clone, Debug)]
pub struct DirectKernel {
    /// `-kernel`.
    pub kernel: PathBuf,
    /// `-initrd`.
    pub initrd: Option<PathBuf>,
    /// `-append`, complete.
    pub command_line: String,
}

/// The guest's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// No network device at all.
    None,
    /// QEMU's user-mode network.
    User {
        /// TCP ports of the host that lead into the guest.
        publish: Vec<Publish>,
    },
}

/// A TCP port of the host that leads to a port of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Address of the host; loopback by default. QEMU 7.2 and 10.0 forward no IPv6 address
    /// (net/slirp.c, slirp_hostfwd: inet_aton).
    pub address: Ipv4Addr,
    /// Port of the host.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
}

/// Where the guest's screen is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Display {
    /// Nowhere; the firmware and boot loader use the serial port.
    None,
    /// A window.
    Gtk,
    /// A VNC server at this address, in QEMU's syntax.
    Vnc(String),
}
