//! What the guest sees besides its disks, from what was typed and what this host can do:
//! machine type, accelerator, CPUs, kernel, network. Opens nothing that stays open.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::options::{Args, Hardware, Net};
use super::report::Facts;
use crate::commands::{Failure, accelerator};
use crate::machine::plan::{Accelerator, Bus, DirectKernel, Network, Plan};

/// The memory of a machine of which nobody said.
pub const MEMORY_MIB: u64 = 2048;

/// `q35`, but a machine with an IDE controller where that is wanted.
pub fn machine_type(args: &Args) -> Result<String, Failure> {
    let ide = args.hardware.bus == Bus::Ide;
    match args.hardware.machine.as_deref() {
        None => Ok(if ide { "pc" } else { "q35" }.to_owned()),
        Some(machine) if ide && (machine == "q35" || machine.starts_with("pc-q35")) => {
            Err(Failure::with_mend(
                anyhow::anyhow!("machine type {machine} has no IDE controller"),
                "--bus sata, or --machine pc",
            ))
        }
        Some(machine) => Ok(machine.to_owned()),
    }
}

/// Refuses what would take QEMU out of our hands: a daemon is nobody's child, and does not die
/// with us.
pub fn check_qemu_args(args: &Args) -> Result<(), Failure> {
    let refused = ["-daemonize", "--daemonize", "-pidfile", "--pidfile"];
    match args
        .qemu
        .qemu_arg
        .iter()
        .find(|arg| refused.iter().any(|no| arg == no))
    {
        Some(arg) => Err(Failure::with_mend(
            anyhow::anyhow!(
                "--qemu-arg {}: it would leave something behind",
                arg.display()
            ),
            "leave it out",
        )),
        None => Ok(()),
    }
}

/// A controller has so many places, and QEMU's own message would name a bus that nobody typed.
pub fn check_room(args: &Args) -> Result<(), Failure> {
    let Hardware {
        bus, disk, cdrom, ..
    } = &args.hardware;
    let disks = usize::from(args.image.is_some()) + disk.len();
    let (drives, places) = match bus {
        Bus::Ide => (disks + cdrom.len(), 4),
        Bus::Sata => (disks + cdrom.len(), 6),
        // CD-ROMs then have an AHCI controller of their own.
        Bus::Virtio | Bus::Nvme => (cdrom.len(), 6),
        Bus::Scsi => return Ok(()),
    };
    if drives <= places {
        return Ok(());
    }
    Err(Failure::with_mend(
        anyhow::anyhow!("{drives} drives on a controller with {places} places"),
        "--bus scsi has room for all of them",
    ))
}

/// What to ask QEMU for: KVM only where it was seen to run a guest.
pub fn accelerator(asked: Accelerator, facts: &mut Facts) -> Result<Accelerator, Failure> {
    facts.accelerator.asked = asked.as_str();
    let choice = accelerator::choose(asked)?;
    facts.accelerator.kvm = choice.kvm;
    Ok(choice.accelerator)
}

/// Two virtual CPUs, or one where the host has no more.
pub fn default_cpus() -> u32 {
    match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => 2,
        _ => 1,
    }
}

/// What `--kernel`, `--initrd` and `--append` ask for.
pub fn direct_kernel(args: &Args) -> Result<Option<DirectKernel>, Failure> {
    let Some(kernel) = &args.hardware.kernel else {
        return Ok(None);
    };
    let append = args.hardware.append.as_deref().unwrap_or_default();
    let has_console = append
        .split_whitespace()
        .any(|word| word.starts_with("console="));
    let command_line = if has_console {
        append.to_owned()
    } else {
        format!("console=ttyS0 {append}")
    };
    let initrd = args.hardware.initrd.as_deref();
    Ok(Some(DirectKernel {
        kernel: readable(kernel, "--kernel")?,
        initrd: initrd
            .map(|initrd| readable(initrd, "--initrd"))
            .transpose()?,
        command_line: command_line.trim_end().to_owned(),
    }))
}

/// `path`, if it is a file that can be read: QEMU's own message would name no option.
pub fn readable(path: &Path, option: &str) -> Result<PathBuf, Failure> {
    let metadata = std::fs::metadata(path)
        .and_then(|metadata| {
            if metadata.is_file() {
                File::open(path)?;
            }
            Ok(metadata)
        })
        .with_context(|| format!("{option} {}", path.display()))?;
    if !metadata.is_file() {
        return Err(anyhow::anyhow!("{option} {}: not a regular file", path.display()).into());
    }
    Ok(path.to_owned())
}

/// What `--net` and `--publish` ask for; publishing needs a network.
pub fn network(args: &Args) -> Result<Network, Failure> {
    let publish = args.hardware.publish.clone();
    match (args.hardware.net, publish.is_empty()) {
        (Some(Net::None), false) => Err(Failure::with_mend(
            anyhow::anyhow!("--publish leads into a network, and --net none allows none"),
            "leave one of the two out",
        )),
        (None | Some(Net::None), true) => Ok(Network::None),
        (None | Some(Net::User), _) => Ok(Network::User { publish }),
    }
}

/// One line that says what is being started.
pub fn headline(args: &Args, plan: &Plan) -> String {
    let what = args.image.as_ref().or(args.hardware.kernel.as_ref());
    let name = what.and_then(|path| path.file_name()).unwrap_or_default();
    let accelerator = match plan.accelerator {
        Accelerator::Tcg => "TCG",
        Accelerator::Kvm | Accelerator::KvmThenTcg => "KVM",
    };
    format!(
        "starting {} ({accelerator}; Ctrl-A X leaves)",
        name.display()
    )
}
