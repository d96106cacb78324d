//! How an image is opened, and the appliance in which it is inspected.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueHint;

use super::machine::parse_disk;
use super::overlay::{OverlayArgs, TemplateArgs};
use super::parse_accel;
use super::sandbox::SandboxArgs;
use super::trust::TrustArgs;
use crate::image::Format;
use crate::image::chain::{Explicit, Request};
use crate::launch::Failure;
use crate::launch::spec::{ApplianceSpec, DiskSpec};
use crate::machine::plan::Accelerator;
use crate::text::size::parse_memory;
use crate::text::time::parse_duration;

/// How an image is opened, and the appliance that it is opened in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub struct InspectionArgs {
    /// Format of the image, if its content and name do not determine it
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The next layer below the image, top down; `none` ends the chain there (repeatable)
    #[arg(long, value_name = "FORMAT:PATH|none", value_parser = super::explicit())]
    backing: Vec<Explicit>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Another disk of the same machine, after the image (repeatable): IMG[,format=F][,serial=S]
    #[arg(long, value_name = "IMG[,OPTION..]", value_parser = parse_disk)]
    disk: Vec<DiskSpec>,
    /// The root filesystem, if the image has several: DEVICE or DEVICE:SUBVOLUME, as listed in the
    /// error message
    #[arg(long, value_name = "DEVICE")]
    pub root: Option<String>,
    /// End after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Write the outcome, phases and layers to FILE as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    #[command(flatten)]
    pub(crate) appliance: ApplianceArgs,
    #[command(flatten)]
    pub(crate) overlay: OverlayArgs,
}

impl InspectionArgs {
    pub(crate) fn image(&self, path: &Path) -> Request {
        Request {
            format: self.format,
            backing: self.backing.clone(),
            trust: self.trust.trust(),
            ..Request::of(path)
        }
    }

    /// The disks of the machine after the image's own.
    pub(crate) fn disks(&self) -> Vec<DiskSpec> {
        self.trust.disks(&self.disk)
    }

    /// Refuses `--disk` with several images: whose disk would it be?
    pub(crate) fn check_images<'a>(
        &self,
        images: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<(), Failure> {
        let mut images = images.into_iter();
        let first = images.next();
        if self.disk.is_empty() || images.all(|image| Some(image) == first) {
            return Ok(());
        }
        Err(Failure::with_hint(
            anyhow!("--disk is a disk of one machine, but there are several images"),
            "call it once for each image",
        ))
    }
}

/// The machine in which the image is inspected.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Appliance")]
pub struct ApplianceArgs {
    /// Memory of the appliance, in MiB or with a suffix (512M, 2G)
    #[arg(long, short, value_name = "SIZE", default_value = "1G", value_parser = parse_memory)]
    memory: u64,
    /// Virtual CPUs of the appliance
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: u32,
    /// Accelerators in the order to try
    #[arg(long, env = "BIVOUAC_ACCEL", value_name = "ACCEL", default_value = "kvm:tcg",
          value_parser = parse_accel)]
    accel: Accelerator,
    /// The appliance's kernel; default the newest in /boot that has modules
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE", value_hint = ValueHint::FilePath)]
    kernel: Option<PathBuf>,
    /// QEMU's program; default qemu-system-x86_64, else /usr/libexec/qemu-kvm
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    qemu: Option<PathBuf>,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

impl ApplianceArgs {
    pub(crate) fn spec(&self) -> ApplianceSpec {
        ApplianceSpec {
            memory_mib: self.memory,
            cpus: self.cpus,
            accelerator: self.accel,
            kernel: self.kernel.clone(),
            qemu: self.qemu.clone(),
            sandbox: self.sandbox.settings(),
        }
    }
}
