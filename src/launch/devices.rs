//! Resolves and checks what a guest has besides its disks: machine type, kernel, files that QEMU
//! opens by path. Opens nothing that stays open.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::failure::Failure;
use super::spec::{KernelSpec, VmSpec};
use crate::image::open_image::OpenedImage;
use crate::machine::plan::{Bus, DirectKernel};

/// `q35`, or a machine with an IDE controller if disks are attached to one.
pub(super) fn machine_type(spec: &VmSpec) -> Result<String, Failure> {
    let ide = spec.bus == Bus::Ide;
    match spec.machine.as_deref() {
        None => Ok(if ide { "pc" } else { "q35" }.to_owned()),
        Some(machine) if ide && (machine == "q35" || machine.starts_with("pc-q35")) => {
            Err(Failure::with_hint(
                anyhow!("machine type {machine} has no IDE controller"),
                "--bus sata, or --machine pc",
            ))
        }
        Some(machine) => Ok(machine.to_owned()),
    }
}

/// Refuses arguments that would detach QEMU from this process: a daemon has no parent, and would
/// outlive us.
pub(super) fn check_qemu_args(spec: &VmSpec) -> Result<(), Failure> {
    let refused = ["-daemonize", "--daemonize", "-pidfile", "--pidfile"];
    let is_refused = |arg: &&std::ffi::OsString| refused.iter().any(|no| *arg == no);
    let Some(arg) = spec.qemu_args.iter().find(is_refused) else {
        return Ok(());
    };
    let arg = arg.display();
    let error = anyhow!("--qemu-arg {arg}: it would leave something behind");
    Err(Failure::with_hint(error, "leave it out"))
}

/// Refuses a size of sectors that the controller's disks cannot have.
pub(super) fn check_sectors(spec: &VmSpec) -> Result<(), Failure> {
    let is_fixed = matches!(spec.bus, Bus::Sata | Bus::Ide);
    let sizes = spec.disks.iter().filter_map(|disk| disk.sector_size);
    match sizes.max().filter(|_| is_fixed) {
        Some(size) => Err(Failure::with_hint(
            anyhow!("disks on this bus have sectors of 512 bytes, and never {size}"),
            "--bus virtio, scsi or nvme, or leave sector-size out",
        )),
        None => Ok(()),
    }
}

/// Refuses images of servers on a controller where a failed read does not stop the machine.
pub(super) fn check_remote(spec: &VmSpec) -> Result<(), Failure> {
    let disks = spec.disks.iter().map(|disk| &disk.opened);
    let mut opened = spec.image.iter().map(|image| &image.opened).chain(disks);
    let is_remote = opened.any(|opened| matches!(opened, Some(OpenedImage::Remote(_))));
    if !is_remote || spec.bus != Bus::Nvme {
        return Ok(());
    }
    Err(Failure::with_hint(
        anyhow!("with --bus nvme, QEMU cannot stop the machine when a server of --remote ends"),
        "--bus virtio, scsi or sata",
    ))
}

/// Refuses more drives than the controller has places for: QEMU's own message would name a bus
/// that the user did not.
pub(super) fn check_room(spec: &VmSpec) -> Result<(), Failure> {
    let disks = usize::from(spec.image.is_some()) + spec.disks.len();
    let cdroms = spec.cdroms.len();
    let (drives, places) = match spec.bus {
        Bus::Ide => (disks + cdroms, 4),
        Bus::Sata => (disks + cdroms, 6),
        // CD-ROMs then have an AHCI controller of their own.
        Bus::Virtio | Bus::Nvme => (cdroms, 6),
        Bus::Scsi => return Ok(()),
    };
    if drives <= places {
        return Ok(());
    }
    Err(Failure::with_hint(
        anyhow!("{drives} drives on a controller with {places} places"),
        "--bus scsi has room for all of them",
    ))
}

pub(super) fn direct_kernel(spec: &KernelSpec) -> Result<DirectKernel, Failure> {
    let initrd = spec.initrd.as_ref();
    let initrd = initrd.map(|initrd| readable(initrd, "--initrd"));
    Ok(DirectKernel {
        kernel: readable(&spec.kernel, "--kernel")?,
        initrd: initrd.transpose()?,
        command_line: command_line(spec.append.as_deref()),
    })
}

/// The whole command line. What is no Linux may take any word of it for something else, so that an empty
/// one can be asked for.
fn command_line(append: Option<&str>) -> String {
    const CONSOLE: &str = "console=ttyS0";
    match append.map(str::trim) {
        None => CONSOLE.to_owned(),
        Some("") => String::new(),
        Some(append) => {
            let mut words = append.split_whitespace();
            match words.any(|word| word.starts_with("console=")) {
                true => append.to_owned(),
                false => format!("{CONSOLE} {append}"),
            }
        }
    }
}

/// `path`, if it is a regular file that can be read: QEMU's own message would name no option.
pub(super) fn readable(path: &Path, option: &str) -> Result<PathBuf, Failure> {
    let what = || format!("{option} {}", path.display());
    if !std::fs::metadata(path).with_context(what)?.is_file() {
        return Err(anyhow!("{}: not a regular file", what()).into());
    }
    File::open(path).with_context(what)?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn a_console_is_added_unless_one_is_named_or_the_line_is_empty() {
        assert_eq!(command_line(None), "console=ttyS0");
        assert_eq!(command_line(Some("")), "");
        assert_eq!(command_line(Some("quiet ")), "console=ttyS0 quiet");
        assert_eq!(
            command_line(Some("quiet console=tty0")),
            "quiet console=tty0"
        );
    }
}
