//! Which machine is wanted: plain data, from the command line's arguments or from a program that
//! uses the library. Nothing here touches the host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::appliance::boot::DEFAULT_MEMORY_MIB;
use crate::image::chain::{GivenAs, Request};
use crate::image::open_image::OpenedImage;
use crate::image::{Format, Trust};
use crate::machine::plan::{Accelerator, Bus, Display, Network};
use crate::protocol::inject::Stage;
use crate::sandbox;
use crate::session::Command;
use crate::template::key::Key;

/// A virtual machine that boots an image or a kernel.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// The image to boot, with what is known of its layers. None needs a kernel.
    pub image: Option<Request>,
    /// Further disks, throwaway too.
    pub disks: Vec<DiskSpec>,
    /// CD-ROM images.
    pub cdroms: Vec<PathBuf>,
    /// A kernel to start without a boot loader.
    pub kernel: Option<KernelSpec>,
    /// What runs first.
    pub firmware: FirmwareSpec,
    /// QEMU's machine type; by default q35, or pc with [`Bus::Ide`].
    pub machine: Option<String>,
    /// Accelerators in the order to try.
    pub accelerator: Accelerator,
    /// CPU model; by default `max`, if it is emulated without what makes that slow.
    pub cpu: Option<String>,
    /// Virtual CPUs, 1 or more.
    pub cpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// How disks are attached.
    pub bus: Bus,
    /// The guest's network.
    pub network: Network,
    /// The guest's screen.
    pub display: Display,
    /// Whether a reset by the guest starts it again. With [`Purpose::Commands`] that holds only
    /// until its agent is ready.
    pub reboot: bool,
    /// QEMU's program; found on this host by default.
    pub qemu: Option<PathBuf>,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<OsString>,
    /// How QEMU is confined.
    pub sandbox: sandbox::Settings,
    /// Where the guest's writes go.
    pub overlay: OverlaySpec,
    /// What the machine is started for.
    pub purpose: Purpose,
    /// Whether it boots or is restored.
    pub start: StartMode,
    /// Whether checkpoints of it can be made if it boots; of one that was restored they always can.
    pub checkpoints: bool,
    /// The agent in the guest.
    pub agent: AgentSpec,
    /// Templates of machines.
    pub template: TemplateSpec,
    /// The machine that was saved under a name, to restore that instead of booting, with
    /// [`StartMode::Warm`]. The rest of this spec has to be as it was.
    pub from: Option<SavedMachine>,
    /// What is done in the machine before it is restored, with [`StartMode::Warm`]: the outcome of
    /// each step is a template of its own.
    pub steps: Vec<Step>,
    /// The machine is ended after this time.
    pub timeout: Option<Duration>,
    /// The machine is ended unless it has booted within this time.
    pub boot_timeout: Option<Duration>,
}

impl VmSpec {
    /// A machine with 2 GiB of memory that boots the image at `path` to run commands in it.
    pub fn of_image(path: impl Into<PathBuf>) -> Self {
        Self {
            image: Some(Request::of(path)),
            ..Self::default()
        }
    }
}

impl Default for VmSpec {
    fn default() -> Self {
        Self {
            image: None,
            disks: Vec::new(),
            cdroms: Vec::new(),
            kernel: None,
            firmware: FirmwareSpec::Auto,
            machine: None,
            accelerator: Accelerator::KvmThenTcg,
            cpu: None,
            cpus: default_cpus(),
            memory_mib: 2048,
            bus: Bus::Virtio,
            network: Network::None,
            display: Display::None,
            reboot: false,
            qemu: None,
            qemu_args: Vec::new(),
            sandbox: sandbox::Settings::default(),
            overlay: OverlaySpec::default(),
            purpose: Purpose::Commands,
            start: StartMode::Cold,
            checkpoints: false,
            agent: AgentSpec::default(),
            template: TemplateSpec::default(),
            from: None,
            steps: Vec::new(),
            timeout: None,
            boot_timeout: None,
        }
    }
}

/// Two virtual CPUs, or one if the host has no more.
fn default_cpus() -> u32 {
    match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => 2,
        _ => 1,
    }
}

/// A further disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its image.
    pub image: PathBuf,
    /// Its format, if it is known.
    pub format: Option<Format>,
    /// The serial number that the guest sees.
    pub serial: Option<String>,
    /// The bytes of a sector; `None` for 512.
    pub sector_size: Option<u32>,
    /// Where the names in its headers may lead.
    pub trust: Trust,
    /// Its image, if it is open already; `None` at first.
    pub opened: Option<OpenedImage>,
}

impl DiskSpec {
    /// How its image is opened.
    pub(crate) fn request(&self) -> Request {
        Request {
            given_as: GivenAs::Disk,
            format: self.format,
            trust: self.trust.clone(),
            opened: self.opened.clone(),
            ..Request::of(&self.image)
        }
    }
}

/// A kernel that QEMU loads itself.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Its command line; `console=ttyS0` is added if it names no console, unless it is given and
    /// empty.
    pub append: Option<String>,
}

/// The machine's firmware.
#[derive(Clone, Debug)]
pub enum FirmwareSpec {
    /// The host's UEFI, if the image has a boot loader for UEFI and none for the BIOS, else SeaBIOS.
    Auto,
    /// SeaBIOS.
    Bios,
    /// The host's UEFI, with a throwaway variable store.
    Uefi,
    /// A firmware image.
    File(PathBuf),
}

/// Where the guest's writes go until the machine ends.
#[derive(Clone, Debug, Default)]
pub struct OverlaySpec {
    /// In memory rather than in an unlinked file.
    pub in_memory: bool,
    /// The directory of that file; by default `$TMPDIR`, else /var/tmp.
    pub directory: Option<PathBuf>,
    /// How many bytes the guest may write to each disk.
    pub max_write: Option<u64>,
    /// How many bytes the copies of a packed image may take; by default a half of the free space.
    pub max_unpack: Option<u64>,
}

/// What a machine is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its serial console is the user's.
    Console,
    /// Commands are run in it.
    Commands,
}

/// How a machine is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// It boots.
    Cold,
    /// It is restored from its template, which is built first if it is missing; it boots if that
    /// fails.
    Warm,
}

/// The agent that runs commands in the guest.
#[derive(Clone, Debug, Default)]
pub struct AgentSpec {
    /// Which one.
    pub via: Via,
    /// How far the guest's init has to be before commands run.
    pub wait_for: WaitFor,
    /// The guest's host name.
    pub hostname: Option<String>,
    /// Gives the guest a machine-id of its own.
    pub new_machine_id: bool,
    /// The kernel of the appliance that injects the agent; by default the newest of /boot that has
    /// modules.
    pub kernel: Option<PathBuf>,
}

/// What runs a command in a booted guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// [`Via::Inject`], or [`Via::Qga`] if the image holds no Linux system.
    Auto,
    /// bivouac's agent, which is put into the overlay and started by the image's own init.
    #[default]
    Inject,
    /// The QEMU guest agent, which the image brings.
    Qga,
}

/// How far the guest's init has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// Filesystems are mounted and devices are there.
    Basic,
    /// Every service was started.
    #[default]
    MultiUser,
    /// Nothing is being started any more.
    Running,
}

impl WaitFor {
    /// When the guest's init starts the agent.
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Basic => Stage::Basic,
            Self::MultiUser | Self::Running => Stage::MultiUser,
        }
    }
}

/// The use of templates.
#[derive(Clone, Copy, Debug)]
pub struct TemplateSpec {
    /// Whether an appliance is restored from its template, or boots.
    pub enabled: bool,
    /// How many bytes all templates may take.
    pub max_bytes: u64,
}

impl Default for TemplateSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            max_bytes: 4 << 30,
        }
    }
}

/// A machine that was saved under a name.
#[derive(Clone, Debug)]
pub struct SavedMachine {
    /// The name.
    pub name: String,
    /// What it was made from.
    pub key: Box<Key>,
}

/// A command that prepares a machine.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is copied into the guest before it.
    pub copies: Vec<CopySpec>,
    /// The command; it has to end with status 0.
    pub command: Command,
    /// A command line for people that opens a terminal in the machine as it was before the step.
    pub shell_before: Option<String>,
}

/// A file or tree that is copied into a guest or out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySpec {
    /// The path where it is.
    pub source: OsString,
    /// The path where it goes; in an existing directory, under its own name.
    pub target: OsString,
}

/// The appliance in which an image is inspected.
#[derive(Clone, Debug)]
pub struct ApplianceSpec {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Accelerators in the order to try.
    pub accelerator: Accelerator,
    /// Its kernel; by default the newest of /boot that has modules.
    pub kernel: Option<PathBuf>,
    /// QEMU's program; found on this host by default.
    pub qemu: Option<PathBuf>,
    /// How QEMU is confined.
    pub sandbox: sandbox::Settings,
}

impl Default for ApplianceSpec {
    fn default() -> Self {
        Self {
            memory_mib: DEFAULT_MEMORY_MIB,
            cpus: 1,
            accelerator: Accelerator::KvmThenTcg,
            kernel: None,
            qemu: None,
            sandbox: sandbox::Settings::default(),
        }
    }
}
