//! From what was typed to a machine that can be started: chains resolved, the host's facts
//! found, overlays made, and all of it written into a [`Plan`].

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use anyhow::Context;

use super::hardware;
use super::options::{Args, OverlayKind};
use super::report::Facts;
use super::written;
use crate::commands::Failure;
use crate::host::firmware;
use crate::host::qemu;
use crate::host::scratch::Scratch;
use crate::image::Format;
use crate::image::chain::{self, Chain, Request};
use crate::image::opened::Kind;
use crate::image::printable::shell_line;
use crate::machine::Channels;
use crate::machine::args::argv;
use crate::machine::overlay::{Overlay, Place};
use crate::machine::plan::{ChildFd, Disk, Firmware, Layer, Plan};

/// A machine ready to be started, with all that it holds open.
#[derive(Debug)]
pub struct Assembled {
    /// The machine as data.
    pub plan: Plan,
    /// Every image, resolved and open.
    pub chains: Vec<Chain>,
    /// One overlay per disk, and one for the variables of UEFI firmware.
    pub overlays: Vec<Overlay>,
    /// Where the overlays are.
    pub place: Place,
    /// The most that QEMU may write to one file, in bytes.
    pub max_write: Option<u64>,
    /// The file that gets a copy of the console.
    console_log: Option<File>,
    headline: String,
}

impl Assembled {
    /// One line that says what is being started.
    pub fn headline(&self) -> &str {
        &self.headline
    }

    /// A descriptor of the console log.
    pub fn console_log(&self) -> Result<Option<File>, Failure> {
        let log = self.console_log.as_ref().map(File::try_clone).transpose();
        Ok(log.context("--console-log")?)
    }

    /// QEMU's command, quoted for a shell.
    pub fn command_line(&self) -> String {
        let program = self.plan.qemu.as_os_str().to_owned();
        shell_line(std::iter::once(program).chain(argv(&self.plan)))
    }

    /// Refuses an image whose header is not the one that was checked.
    pub fn check_headers(&self) -> Result<(), Failure> {
        for layer in self.chains.iter().flat_map(Chain::layers) {
            let path = layer.path().display();
            if !layer
                .header_is_unchanged()
                .with_context(|| format!("reading {path} again"))?
            {
                return Err(Failure::with_mend(
                    anyhow::anyhow!("{path}: its header was changed while QEMU opened it"),
                    "run it again once nobody writes to it",
                ));
            }
        }
        Ok(())
    }

    /// What QEMU inherits besides its channels.
    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        let layers = self
            .chains
            .iter()
            .flat_map(|chain| chain.layers())
            .map(|layer| layer.fd());
        layers
            .chain(self.overlays.iter().map(AsFd::as_fd))
            .collect()
    }
}

/// Finds out everything, opens everything, starts nothing.
pub fn assemble(args: &Args, facts: &mut Facts) -> Result<(Assembled, Channels), Failure> {
    let qemu = qemu::find(args.qemu.qemu.as_deref())?;
    facts.qemu = Some(qemu.clone());
    let mut builder = Builder::new(args)?;

    let machine = hardware::machine_type(args)?;
    hardware::check_room(args)?;
    let (mut disks, mut cdroms) = (Vec::new(), Vec::new());
    if let Some(image) = &args.image {
        let backing = args.backing.clone();
        let chain = resolve(&Request {
            image: image.clone(),
            format: args.format,
            backing,
        })?;
        // An ISO that boots from a CD-ROM drive alone is put into one; nobody writes there.
        if chain.top().is_optical_only() {
            cdroms.push(builder.without_overlay(chain));
        } else {
            disks.push(builder.with_overlay("disk0", chain, None)?);
        }
    }
    for disk in &args.hardware.disk {
        let request = Request {
            image: disk.image.clone(),
            format: disk.format,
            backing: vec![],
        };
        let name = format!("disk{}", disks.len());
        disks.push(builder.disk(&name, &request, disk.serial.clone())?);
    }
    let firmware = builder.firmware(&args.hardware.firmware, &machine)?;
    for iso in &args.hardware.cdrom {
        cdroms.push(builder.read_only(iso, Format::Raw)?);
    }
    facts.layers_before(&builder.chains);
    facts.phases.mark("images");

    let accelerator = hardware::accelerator(args.hardware.accel, facts)?;
    facts.phases.mark("kvm-check");
    let channels = Channels::new(false).context("making QEMU's channels")?;
    let plan = Plan {
        qemu,
        machine,
        accelerator,
        cpu: args.hardware.cpu.clone(),
        cpus: args.hardware.cpus.unwrap_or_else(hardware::default_cpus),
        memory_mib: args.hardware.memory,
        firmware,
        bus: args.hardware.bus,
        disks,
        cdroms,
        kernel: hardware::direct_kernel(args)?,
        network: hardware::network(args)?,
        display: args.hardware.display.clone(),
        reboot: args.hardware.reboot,
        qmp: channels.qmp_fd(),
        console: channels.console_fd(),
        agent: channels.agent_fd(),
        extra: args.qemu.qemu_arg.clone(),
    };
    let console_log = match &args.conduct.console_log {
        Some(path) if !args.conduct.dry_run => Some(written::console_log(path, &builder.chains)?),
        _ => None,
    };
    let assembled = Assembled {
        headline: hardware::headline(args, &plan),
        plan,
        chains: builder.chains,
        overlays: builder.overlays,
        place: builder.place,
        max_write: args.overlay.max_write,
        console_log,
    };
    Ok((assembled, channels))
}

/// Collects what is opened on the way.
struct Builder {
    place: Place,
    chains: Vec<Chain>,
    overlays: Vec<Overlay>,
}

impl Builder {
    fn new(args: &Args) -> Result<Self, Failure> {
        let place = match args.overlay.overlay {
            OverlayKind::Memory => Place::Memory,
            OverlayKind::Disk => {
                let scratch = Scratch::choose(args.overlay.overlay_dir.as_deref())?;
                if let Some(warning) = scratch.warning() {
                    tracing::warn!("{warning}");
                }
                Place::Directory(scratch)
            }
        };
        Ok(Self {
            place,
            chains: Vec::new(),
            overlays: Vec::new(),
        })
    }

    /// A throwaway disk over the image of `request`; its node is called `name`.
    fn disk(
        &mut self,
        name: &str,
        request: &Request,
        serial: Option<String>,
    ) -> Result<Disk, Failure> {
        self.with_overlay(name, resolve(request)?, serial)
    }

    fn with_overlay(
        &mut self,
        name: &str,
        chain: Chain,
        serial: Option<String>,
    ) -> Result<Disk, Failure> {
        let (top, size) = (chain.top(), chain.virtual_size());
        let overlay = Overlay::create(name, &self.place, size, top.path(), top.format())
            .with_context(|| format!("making an overlay in {}", self.place.name().display()))?;
        let disk = Disk {
            overlay: overlay.fd(),
            layers: layers(&chain),
            serial,
        };
        self.overlays.push(overlay);
        self.chains.push(chain);
        Ok(disk)
    }

    /// An image that the guest only reads.
    fn read_only(&mut self, image: &Path, format: Format) -> Result<Layer, Failure> {
        let request = Request {
            image: image.to_owned(),
            format: Some(format),
            backing: vec![],
        };
        Ok(self.without_overlay(resolve(&request)?))
    }

    fn without_overlay(&mut self, chain: Chain) -> Layer {
        let layer = layers(&chain).remove(0);
        self.chains.push(chain);
        layer
    }

    fn firmware(&mut self, asked: &Path, machine: &str) -> Result<Firmware, Failure> {
        if asked == Path::new("bios") {
            return Ok(Firmware::Bios);
        }
        if asked != Path::new("uefi") {
            return Ok(Firmware::File(hardware::readable(asked, "--firmware")?));
        }
        let uefi = firmware::find_uefi(machine)?;
        let format = |name: &str| {
            Format::of_driver(name)
                .with_context(|| format!("firmware of format {name}, which bivouac does not know"))
        };
        let vars = Request {
            image: uefi.vars_template,
            format: Some(format(&uefi.vars_format)?),
            backing: vec![],
        };
        Ok(Firmware::Uefi {
            code: self.read_only(&uefi.code, format(&uefi.code_format)?)?,
            vars: self.disk("firmware-vars", &vars, None)?,
        })
    }
}

fn resolve(request: &Request) -> Result<Chain, Failure> {
    let chain = chain::resolve(request)?;
    for layer in chain.layers() {
        for warning in layer.warnings() {
            tracing::warn!("{warning}");
        }
    }
    Ok(chain)
}

fn layers(chain: &Chain) -> Vec<Layer> {
    let described = chain.layers().iter().map(|layer| Layer {
        fd: ChildFd(layer.fd().as_raw_fd()),
        format: layer.format(),
        block_device: layer.kind() == Kind::BlockDevice,
        label: layer.path().display().to_string(),
    });
    described.collect()
}
