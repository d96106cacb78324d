//! How a machine is prepared, for commands that always restore it from a template.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueHint;

use super::agent::copy_in;
use super::command::ContextArgs;
use super::command_line::CommandLine;
use super::machine::{HardwareArgs, LayerArgs};
use super::saved;
use super::steps::steps;
use crate::launch::Failure;
use crate::launch::spec::{AgentSpec, CopySpec, Step, VmSpec, WaitFor};
use crate::template::store::parse_name;

/// What is done in the machine before it is restored.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Preparation")]
pub struct PrepareArgs {
    /// Run a shell command in the booted machine, once: its outcome is saved and restored from then
    /// on (repeatable)
    #[arg(long, value_name = "CMD")]
    pub prepare: Vec<OsString>,
    /// Copy a file or tree into the guest before the --prepare that follows, else before the command
    /// (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_in())]
    pub copy_in: Vec<CopySpec>,
    /// Restore the machine that `template build --name` saved under NAME, instead of IMAGE
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub from: Option<String>,
    /// Stage of the guest's boot at which it is saved
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    pub wait_for: WaitFor,
    /// The kernel of the appliance that injects the agent; default the newest in /boot that has
    /// modules
    #[arg(long, alias = "seed-kernel", env = "BIVOUAC_KERNEL", value_name = "FILE",
          value_hint = ValueHint::FilePath)]
    pub inject_kernel: Option<PathBuf>,
    #[command(flatten)]
    pub context: ContextArgs,
}

impl PrepareArgs {
    /// The machine before its steps: that of `--from`, or one of these arguments.
    pub(crate) fn machine(
        &self,
        typed: &CommandLine,
        image: Option<&Path>,
        layers: &LayerArgs,
        hardware: &HardwareArgs,
    ) -> Result<VmSpec, Failure> {
        match &self.from {
            Some(name) => saved::spec(name, typed),
            None => Ok(VmSpec {
                image: image.map(|path| layers.image(path)),
                agent: self.agent(),
                ..hardware.spec(&layers.trust)?
            }),
        }
    }

    pub(crate) fn agent(&self) -> AgentSpec {
        AgentSpec {
            wait_for: self.wait_for,
            kernel: self.inject_kernel.clone(),
            ..AgentSpec::default()
        }
    }

    /// What prepares the machine, and what is copied in after that.
    pub(crate) fn steps(&self, typed: &CommandLine) -> (Vec<Step>, Vec<CopySpec>) {
        steps(&self.prepare, &self.copy_in, &self.context, typed)
    }
}
