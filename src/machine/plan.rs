//! A machine as plain data, which `args` turns into QEMU's command line. Nothing here touches the host:
//! descriptors are the numbers that QEMU will inherit.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::image::Format;
use crate::sandbox;

/// The number of a descriptor that QEMU inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildFd(pub i32);

/// Stands for a descriptor that is not open yet.
pub const NOT_OPEN: ChildFd = ChildFd(-1);

pub const AGENT_PORT: &str = "org.bivouac.agent.0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentPort {
    pub fd: ChildFd,
    pub name: &'static str,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub qemu: PathBuf,
    /// Machine type, such as `q35` or `pc`.
    pub machine: String,
    pub accelerator: Accelerator,
    /// The size in MiB of the emulator's buffer for translated code, if it is not QEMU's choice.
    pub tcg_buffer_mib: Option<u64>,
    /// CPU model; `max` works with both accelerators.
    pub cpu: String,
    /// Number of virtual CPUs, 1 or more.
    pub cpus: u32,
    pub memory_mib: u64,
    pub firmware: Firmware,
    pub bus: Bus,
    /// Disks in boot order.
    pub disks: Vec<Disk>,
    /// CD-ROMs, read-only, after the disks in boot order.
    pub cdroms: Vec<Layer>,
    pub kernel: Option<DirectKernel>,
    pub network: Network,
    pub display: Display,
    /// Whether a reset by the guest reboots it instead of ending the machine.
    pub reboot: bool,
    pub qmp: ChildFd,
    pub console: ChildFd,
    pub agent: Option<AgentPort>,
    /// Set for a machine that is saved, or restored from a snapshot.
    pub snapshot: Option<SnapshotConfig>,
    pub extra: Vec<OsString>,
    pub sandbox: sandbox::Settings,
}

impl Plan {
    /// Gives each disk, and the variables of its firmware after them, the overlay and the layers that
    /// are its own now.
    pub fn put_on(&mut self, stacks: Vec<(ChildFd, Vec<Layer>)>) {
        let vars = match &mut self.firmware {
            Firmware::Uefi { vars, .. } => Some(vars),
            Firmware::Bios | Firmware::File(_) => None,
        };
        for (disk, (overlay, layers)) in self.disks.iter_mut().chain(vars).zip(stacks) {
            (disk.overlay, disk.layers) = (overlay, layers);
        }
    }

    /// The same plan, to be saved, with nominal descriptor numbers, without published ports and whatever the host's memory: equal
    /// for all machines that can be restored from its snapshot.
    pub fn nominal(&self) -> Self {
        let mut numbers = (3..).map(ChildFd);
        let mut next = || numbers.next().unwrap_or(ChildFd(0));
        let mut plan = self.clone();
        (plan.qmp, plan.console) = (next(), next());
        plan.tcg_buffer_mib = None;
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
        if let Network::User { publish, .. } = &mut plan.network {
            publish.clear();
        }
        if let Network::Internet { socket, .. } = &mut plan.network {
            *socket = next();
        }
        plan.snapshot = Some(SnapshotConfig {
            memory: next(),
            mapping: MemoryMapping::Shared,
            empty_disks: 0,
            generation_id: true,
            devices_only: false,
        });
        plan
    }
}

/// A machine that is saved or restored. Its devices are in fixed PCI slots, so that both have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// The file of the guest's memory, of the same size.
    pub memory: ChildFd,
    pub mapping: MemoryMapping,
    /// How many disks of size 0 it has, on [`Bus::Virtio`]. A restored machine may have real ones in
    /// their place and grows them ([`super::Machine::grow_disk`]).
    pub empty_disks: usize,
    /// Whether it has a VM generation ID, which tells the guest that it was cloned (QEMU's vmgenid).
    pub generation_id: bool,
    /// Whether it loads a state of [`super::Machine::save_devices`], which has no configuration in it.
    pub devices_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMapping {
    /// The machine is saved: it writes to the file.
    Shared,
    /// The machine is restored, and will be saved again: it writes to the file, which is a copy.
    SharedRestored,
    /// The machine is restored, its writes are private. QEMU opens the file for writing nevertheless;
    /// for versions before 8.2.
    CopyOnWrite,
    /// The same with a file that this process opens for QEMU, read-only ([`crate::sys::OpenAnswers`]).
    CopyOnWriteAnswered,
    /// The same with a file that is opened read-only, since QEMU 8.2.
    CopyOnWriteReadOnly,
    /// The machine boots, over a file that holds nothing, and its writes are private: a checkpoint of
    /// it can be made as of one that was restored.
    Boot,
}

/// QEMU's accelerator, as asked for on its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM, else TCG.
    KvmThenTcg,
    Kvm,
    Tcg,
}

impl Accelerator {
    pub fn may_be_kvm(self) -> bool {
        self != Self::Tcg
    }

    /// The CPU model for guests that want none in particular: every feature, but for what kernels and
    /// programs use if it is there, and is slower than doing without if every instruction is emulated:
    /// copies and clearings byte by byte (erms, fsrm), a fifth level of page tables (la57), and the ends of
    /// translated blocks that come with each copy to or from a program (smap) or with each switch (pku).
    /// None of it is in a level of x86-64 that programs are made for.
    pub fn default_cpu(self) -> &'static str {
        match self.may_be_kvm() {
            true => "max",
            false => "max,erms=off,fsrm=off,la57=off,smap=off,pku=off",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::KvmThenTcg => "kvm:tcg",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Firmware {
    /// QEMU's own default, SeaBIOS.
    Bios,
    File(PathBuf),
    Uefi {
        /// Read-only.
        code: Layer,
        /// The variable store; writes are lost like a disk's.
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

/// A disk: an overlay that takes all writes, over read-only layers.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The unlinked overlay, opened read-write.
    pub overlay: ChildFd,
    /// Top first; never empty.
    pub layers: Vec<Layer>,
    pub serial: Option<String>,
    /// The bytes of a sector, if not QEMU's default of 512.
    pub sector_size: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Layer {
    /// Opened O_RDONLY.
    pub fd: ChildFd,
    /// Given to QEMU explicitly: it never probes.
    pub format: Format,
    /// A block device rather than a regular file.
    pub block_device: bool,
    /// A connection to an NBD server rather than a file.
    pub remote: bool,
    /// The file's path, for people who read the command line.
    pub label: String,
}

#[derive(Clone, Debug)]
pub struct DirectKernel {
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    /// `-append`, complete.
    pub command_line: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    None,
    User {
        publish: Vec<Publish>,
        /// Whether the guest may only answer at its published ports.
        restricted: bool,
    },
    /// passt, which reaches neither the host's loopback nor link-local addresses.
    Internet {
        /// Its program.
        passt: PathBuf,
        socket: ChildFd,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Address of the host. QEMU 7.2 and 10.0 do not forward IPv6 (net/slirp.c, slirp_hostfwd:
    /// inet_aton).
    pub address: Ipv4Addr,
    pub host: u16,
    pub guest: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Display {
    /// Not at all; firmware and boot loader use the serial port.
    None,
    Gtk,
    /// A VNC server at this address, in QEMU's syntax. Nobody can connect before
    /// [`super::Machine::set_vnc_password`].
    Vnc(String),
    /// A VNC server at this UNIX socket, which is given to QEMU by [`super::Machine::serve_vnc`].
    VncSocket(PathBuf),
}
