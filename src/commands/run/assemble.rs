//! From what was typed to a machine that can be started: chains resolved, the host's facts
//! found, overlays made, and all of it written into a [`Plan`].

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::mpsc;

use super::hardware;
use super::options::Args;
use super::report::Facts;
use super::written;
use crate::commands::Failure;
use crate::commands::drives::{place, resolve};
use crate::host::firmware;
use crate::host::qemu;
use crate::image::Format;
use crate::image::chain::Request;
use crate::machine::args::argv;
use crate::machine::console::Sinks;
use crate::machine::drives::Drives;
use crate::machine::plan::{Firmware, Plan};
use crate::machine::{Channels, Holdings};
use crate::text::escape::shell_line;

/// A machine ready to be started, with all that it holds open.
#[derive(Debug)]
pub struct Assembled {
    /// The machine as data.
    pub plan: Plan,
    /// Images and overlays.
    pub drives: Drives,
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

    /// What QEMU is started with besides its arguments.
    pub fn holdings(
        &self,
        channels: Channels,
        sinks: Sinks,
        input: mpsc::Receiver<Vec<u8>>,
    ) -> Holdings<'_> {
        Holdings {
            channels,
            files: self.drives.files(),
            max_file_size: self.max_write,
            sinks,
            input,
        }
    }

    /// Gives the machine other channels.
    pub fn connect(&mut self, channels: &Channels) {
        self.plan.qmp = channels.qmp_fd();
        self.plan.console = channels.console_fd();
        self.plan.agent = channels.agent_fd();
    }

    /// QEMU's command, quoted for a shell.
    pub fn command_line(&self) -> String {
        let program = self.plan.qemu.as_os_str().to_owned();
        shell_line(std::iter::once(program).chain(argv(&self.plan)))
    }
}

/// Finds out everything, opens everything, starts nothing.
pub fn assemble(args: &Args, facts: &mut Facts) -> Result<(Assembled, Channels), Failure> {
    let qemu = qemu::find(args.qemu.qemu.as_deref())?;
    facts.qemu = Some(qemu.clone());
    let mut drives = Drives::new(place(&args.overlay)?);

    let machine = hardware::machine_type(args)?;
    hardware::check_room(args)?;
    hardware::check_qemu_args(args)?;
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
            cdroms.push(drives.read_only(chain));
        } else {
            disks.push(drives.disk("disk0", chain, None)?);
        }
    }
    for disk in &args.hardware.disk {
        let request = Request {
            image: disk.image.clone(),
            format: disk.format,
            backing: vec![],
        };
        let name = format!("disk{}", disks.len());
        disks.push(drives.disk(&name, resolve(&request)?, disk.serial.clone())?);
    }
    let firmware = firmware(&mut drives, &args.hardware.firmware, &machine)?;
    for iso in &args.hardware.cdrom {
        cdroms.push(drives.read_only(resolve(&alone(iso.clone(), Format::Raw))?));
    }
    facts.layers_before(drives.chains());
    facts.phases.mark("images");

    let accelerator = hardware::accelerator(args.hardware.accel, facts)?;
    facts.phases.mark("kvm-check");
    let channels = Channels::new(args.guest.has_agent()?).context("making QEMU's channels")?;
    let plan = Plan {
        qemu,
        machine,
        accelerator,
        cpu: args.hardware.cpu.clone(),
        cpus: args.hardware.cpus.unwrap_or_else(hardware::default_cpus),
        memory_mib: args.hardware.memory.unwrap_or(hardware::MEMORY_MIB),
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
        saving: None,
        extra: args.qemu.qemu_arg.clone(),
    };
    let console_log = match &args.conduct.console_log {
        Some(path) if !args.conduct.dry_run => {
            let others = [
                ("--kernel", args.hardware.kernel.as_deref()),
                ("--initrd", args.hardware.initrd.as_deref()),
                ("--firmware", Some(args.hardware.firmware.as_path())),
                ("--report", args.conduct.report.as_deref()),
                ("--qemu", Some(plan.qemu.as_path())),
            ];
            Some(written::console_log(path, drives.chains(), &others)?)
        }
        _ => None,
    };
    let assembled = Assembled {
        headline: hardware::headline(args, &plan),
        plan,
        drives,
        max_write: args.overlay.max_write,
        console_log,
    };
    Ok((assembled, channels))
}

fn firmware(drives: &mut Drives, asked: &Path, machine: &str) -> Result<Firmware, Failure> {
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
    let code = resolve(&alone(uefi.code, format(&uefi.code_format)?))?;
    let vars = resolve(&alone(uefi.vars_template, format(&uefi.vars_format)?))?;
    Ok(Firmware::Uefi {
        code: drives.read_only(code),
        vars: drives.disk("firmware-vars", vars, None)?,
    })
}

/// An image of a format that is known.
fn alone(image: PathBuf, format: Format) -> Request {
    Request {
        image,
        format: Some(format),
        backing: Vec::new(),
    }
}
