//! How an image is opened, and the appliance in which it is inspected.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueHint;

use super::keys::KeyArgs;
use super::machine::parse_disk;
use super::overlay::{OverlayArgs, TemplateArgs};
use super::parse_accel;
use super::sandbox::SandboxArgs;
use super::trust::TrustArgs;
use crate::image::Format;
use crate::image::chain::{Explicit, Request};
use crate::launch::Failure;
use crate::launch::spec::{ApplianceSpec, DiskSpec, OverlaySpec};
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
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    /// The root filesystem, if the image has several: DEVICE, DEVICE:SUBVOLUME or its number, as
    /// listed in the error message
    #[arg(long, value_name = "DEVICE")]
    pub root: Option<String>,
    /// End after TIME (90, 90s, 5m, 2h, 0: never); default 10m, but never for `chroot`, `mount` and
    /// `tail --follow`; exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// Write the outcome, phases and layers to FILE as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Restore the appliance with the image in it, its root mounted, as the first call with --warm left it
    #[arg(long, help_heading = "Appliance", conflicts_with_all = ["no_template", "key"])]
    pub(crate) warm: bool,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    #[command(flatten)]
    pub(crate) appliance: ApplianceArgs,
    #[command(flatten)]
    pub(crate) overlay: OverlayArgs,
}

/// How long an inspection may take unless something else is asked for: a hostile image may never
/// come to an end.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// How much an inspection may write to each overlay unless something else is asked for, in bytes: a
/// mount replays a journal, and writes little else.
const DEFAULT_MAX_WRITE: u64 = 4 << 30;

/// As [`parse_duration`], and 0 for no limit.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => parse_duration(text),
    }
}

impl InspectionArgs {
    /// How long it may take, and how much may be written. A command that runs for as long as its user
    /// wants has no limits unless they are asked for.
    pub(crate) fn limits(&self, is_limited: bool) -> (Option<Duration>, OverlaySpec) {
        let mut overlay = self.overlay.spec();
        let mut timeout = self.timeout;
        if is_limited {
            overlay.max_write.get_or_insert(DEFAULT_MAX_WRITE);
            timeout.get_or_insert(DEFAULT_TIMEOUT);
        }
        (timeout.filter(|timeout| !timeout.is_zero()), overlay)
    }

    /// Whether it was said how long it may take.
    pub(crate) fn has_timeout(&self) -> bool {
        self.timeout.is_some()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: InspectionArgs,
    }

    #[test]
    fn an_inspection_has_limits_unless_others_are_asked_for() {
        let limits = |words: &[&str], is_limited| {
            let cli = Cli::try_parse_from([&["bivouac"], words].concat()).unwrap();
            let (timeout, overlay) = cli.args.limits(is_limited);
            (timeout.map(|time| time.as_secs()), overlay.max_write)
        };
        assert_eq!(limits(&[], true), (Some(600), Some(4 << 30)));
        assert_eq!(limits(&[], false), (None, None));
        let asked = ["--timeout", "5", "--max-write", "8G"];
        for is_limited in [true, false] {
            assert_eq!(limits(&asked, is_limited), (Some(5), Some(8 << 30)));
            assert_eq!(limits(&["--timeout", "0"], is_limited).0, None);
        }
    }
}
