//! Chooses the firmware of a machine, by what the first sectors of its image can be booted by, and opens
//! its files.

use anyhow::Context;

use super::devices;
use super::failure::Failure;
use super::images::{of_format, resolve};
use super::spec::{FirmwareSpec, VmSpec};
use crate::host::firmware;
use crate::image::Format;
use crate::image::boot_sectors::{self, BootSectors};
use crate::image::chain::Chain;
use crate::image::guest_disk::GuestDisk;
use crate::machine::boot_stop::{BootStop, EMPTY_CODE, EMPTY_CODE_BESIDE_ESP};
use crate::machine::drives::Drives;
use crate::machine::plan::Firmware;

const UEFI_ONLY: &str = "it has a boot loader for UEFI, but none for the BIOS";

/// The firmware, and why the machine cannot boot by it, if that is known. The chain of the image is the
/// first of `drives`.
pub(super) fn choose(
    spec: &VmSpec,
    drives: &mut Drives,
    machine: &str,
) -> Result<(Firmware, Option<&'static BootStop>), Failure> {
    match &spec.firmware {
        FirmwareSpec::File(path) => {
            let path = devices::readable(path, "--firmware")?;
            return Ok((Firmware::File(path), None));
        }
        FirmwareSpec::Uefi => return Ok((uefi(drives, machine)?, None)),
        FirmwareSpec::Auto | FirmwareSpec::Bios => {}
    }
    let Some(sectors) = read(spec, drives) else {
        return Ok((Firmware::Bios, None));
    };
    let is_auto = matches!(spec.firmware, FirmwareSpec::Auto);
    if is_auto && sectors.uefi && !sectors.bios {
        tracing::debug!("the image boots by UEFI: {UEFI_ONLY}");
        let opened = uefi(drives, machine);
        let firmware = opened.map_err(|failure| {
            failure.context(format!("the image needs UEFI firmware: {UEFI_ONLY}"))
        })?;
        return Ok((firmware, None));
    }
    if is_auto {
        tracing::debug!("the image boots by the BIOS: {}", why_bios(sectors));
    }
    let stop = match sectors.uefi {
        true => &EMPTY_CODE_BESIDE_ESP,
        false => &EMPTY_CODE,
    };
    // Other devices may come first.
    let is_known = sectors.is_empty_code && spec.qemu_args.is_empty();
    Ok((Firmware::Bios, is_known.then_some(stop)))
}

fn why_bios(sectors: BootSectors) -> &'static str {
    match sectors.bios {
        true => "its first sector holds code",
        false => "it has a boot loader neither for the BIOS nor for UEFI",
    }
}

/// What the image can be booted by. None if it is not booted, or cannot be read without QEMU.
fn read(spec: &VmSpec, drives: &Drives) -> Option<BootSectors> {
    if spec.kernel.is_some() || spec.image.is_none() {
        return None;
    }
    let chain = drives.chains().first()?;
    of_chain(chain)
        .inspect_err(|error| tracing::debug!("its boot sectors were not read: {error}"))
        .ok()
}

/// Raw and qcow2 only.
pub(super) fn of_chain(chain: &Chain) -> std::io::Result<BootSectors> {
    let disk = GuestDisk::of(chain);
    match chain.top().is_optical_only() {
        true => boot_sectors::of_cdrom(&disk),
        false => boot_sectors::of_disk(&disk, chain.virtual_size()),
    }
}

fn uefi(drives: &mut Drives, machine: &str) -> Result<Firmware, Failure> {
    let uefi = firmware::find_uefi(machine)?;
    let format = |name: &str| {
        Format::of_driver(name)
            .with_context(|| format!("firmware of format {name}, which bivouac does not know"))
    };
    let code = resolve(&of_format(uefi.code, Some(format(&uefi.code_format)?)))?;
    let vars = resolve(&of_format(
        uefi.vars_template,
        Some(format(&uefi.vars_format)?),
    ))?;
    Ok(Firmware::Uefi {
        code: drives.read_only(code),
        vars: drives.disk("firmware-vars", vars, None)?,
    })
}
