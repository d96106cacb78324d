//! The options of `bivouac session`, and the machine that they mean.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueHint;

use crate::commands::args::command_line::CommandLine;
use crate::commands::args::keys::KeyArgs;
use crate::commands::args::machine::{HardwareArgs, LayerArgs, QemuArgs};
use crate::commands::args::overlay::{OverlayArgs, TemplateArgs};
use crate::commands::args::prepare::PrepareArgs;
use crate::commands::inspection::keys;
use crate::launch::appliance_session::InspectionSpec;
use crate::launch::spec::{AgentSpec, ApplianceSpec, Purpose, StartMode, Via};
use crate::launch::{Failure, VmSpec};
use crate::machine::phases::Phases;
use crate::text::time::parse_duration;

/// Hold machines, and serve requests of another program on standard input and output
///
/// The machine boots, or with --warm is restored, and is held until the end of standard input. Each
/// line of standard input is a request of JSON-RPC 2.0, such as to run a command, to copy files or
/// to stop the machine; each line of standard output is an answer or a notification.
/// bivouac-session(5) is the protocol. Nothing that a guest writes is kept.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "bivouac session [OPTIONS] IMAGE\n       bivouac session [OPTIONS] --from NAME"
)]
pub struct Args {
    #[command(flatten)]
    pub(super) typed: CommandLine,
    /// The disk image to boot; may be left out with --kernel, and is with --from
    #[arg(required_unless_present_any = ["kernel", "from"], conflicts_with = "from",
          value_hint = ValueHint::FilePath)]
    pub(super) image: Option<PathBuf>,
    /// Hold the appliance with the image mounted, instead of booting the image
    #[arg(long, requires = "image")]
    pub(super) inspect: bool,
    /// The root filesystem, if the image has several: DEVICE, DEVICE:SUBVOLUME or its number, as
    /// listed in the error message
    #[arg(long, value_name = "DEVICE", requires = "inspect")]
    pub(super) root: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    guest: GuestOptions,
    #[command(flatten)]
    prepare: PrepareArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    overlay: OverlayArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    qemu: QemuArgs,
}

/// How the machine is started, and how long the session may take.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Session")]
struct GuestOptions {
    /// Restore a saved machine that has booted, instead of booting; the first such session boots the
    /// machine and saves it
    #[arg(long, conflicts_with = "inspect")]
    warm: bool,
    /// The guest's host name
    #[arg(long, value_name = "NAME", value_parser = crate::commands::args::agent::host_name,
          conflicts_with = "inspect")]
    hostname: Option<String>,
    /// Give the guest a machine-id of its own
    #[arg(long, conflicts_with = "inspect")]
    new_machine_id: bool,
    /// End the session after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// End the machine if the agent does not respond within TIME, also after a reboot; exit status
    /// 124
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "inspect")]
    boot_timeout: Option<Duration>,
}

impl Args {
    /// How long the session may take.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.guest.timeout
    }

    /// The machine that boots or is restored.
    pub(super) fn machine(&self) -> Result<VmSpec, Failure> {
        let (guest, prepare) = (&self.guest, &self.prepare);
        if !self.keys.key.is_empty() {
            return Err(Failure::with_hint(
                anyhow!(
                    "--key is for an image that is inspected: one that boots asks for its passphrase itself"
                ),
                "--inspect, or leave out --key",
            ));
        }
        let (steps, left) = prepare.steps(&self.typed);
        if let Some(copy) = left.first() {
            return Err(Failure::with_hint(
                anyhow!("--copy-in {}: no --prepare follows", copy.source.display()),
                "--prepare true, or the request `put`",
            ));
        }
        let (typed, image) = (&self.typed, self.image.as_deref());
        let machine = prepare.machine(typed, image, &self.layers, &self.hardware)?;
        let is_restored = guest.warm || prepare.from.is_some() || !steps.is_empty();
        Ok(VmSpec {
            purpose: Purpose::Commands,
            start: match is_restored {
                true => StartMode::Warm,
                false => StartMode::Cold,
            },
            steps,
            agent: AgentSpec {
                via: Via::Inject,
                hostname: guest.hostname.clone(),
                new_machine_id: guest.new_machine_id,
                ..machine.agent
            },
            template: self.template.spec(),
            overlay: self.overlay.spec(),
            qemu: self.qemu.qemu.clone().or(machine.qemu),
            qemu_args: self.qemu.qemu_arg.clone(),
            sandbox: self.qemu.sandbox.settings(),
            boot_timeout: guest.boot_timeout,
            checkpoints: true,
            ..machine
        })
    }

    /// The appliance that holds the image, if that was asked for.
    pub(super) fn inspection(&self) -> Result<Option<InspectionSpec>, Failure> {
        let Some(image) = self.image.as_deref().filter(|_| self.inspect) else {
            return Ok(None);
        };
        self.check_inspection()?;
        let (hardware, defaults) = (&self.hardware, ApplianceSpec::default());
        Ok(Some(InspectionSpec {
            image: self.layers.image(image),
            disks: self.layers.trust.disks(&hardware.disk),
            keys: keys::given(&self.keys)?,
            overlays: Vec::new(),
            warns: true,
            appliance: ApplianceSpec {
                memory_mib: hardware.memory.unwrap_or(defaults.memory_mib),
                cpus: hardware.cpus.unwrap_or(defaults.cpus),
                accelerator: hardware.accel,
                kernel: self.prepare.inject_kernel.clone(),
                qemu: self.qemu.qemu.clone(),
                sandbox: self.qemu.sandbox.settings(),
            },
            overlay: self.overlay.spec(),
            template: self.template.spec(),
            kept: None,
            timeout: None,
            is_default_timeout: false,
            phases: Phases::default(),
            wants_facts: false,
        }))
    }

    /// Options of a machine that boots mean nothing to an appliance.
    fn check_inspection(&self) -> Result<(), Failure> {
        if self.keys.read_input() {
            return Err(Failure::with_hint(
                anyhow!("--key fd:0: standard input has the requests"),
                "--key fd:N with another descriptor, or --key file:PATH",
            ));
        }
        let hardware = &self.hardware;
        let given = [
            ("--cdrom", !hardware.cdrom.is_empty()),
            ("--kernel", hardware.kernel.is_some()),
            ("--machine", hardware.machine.is_some()),
            ("--net", hardware.net.is_some()),
            ("--publish", !hardware.publish.is_empty()),
            ("--qemu-arg", !self.qemu.qemu_arg.is_empty()),
            ("--reboot", hardware.reboot),
            ("--prepare", !self.prepare.prepare.is_empty()),
            ("--copy-in", !self.prepare.copy_in.is_empty()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::with_hint(
                anyhow!("{option} is for an image that boots, but --inspect boots none"),
                "leave out one of the two",
            )),
        }
    }
}
