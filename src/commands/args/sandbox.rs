//! How QEMU is confined.

use std::path::PathBuf;

use clap::ValueHint;

use crate::sandbox::{Mode, Settings};

/// QEMU's sandbox.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Sandbox")]
pub struct SandboxArgs {
    /// Confine QEMU: it can open and do nothing that its machine does not need
    #[arg(
        long,
        env = "BIVOUAC_SANDBOX",
        value_enum,
        value_name = "auto|require|off",
        default_value = "auto"
    )]
    sandbox: Mode,
    /// Let QEMU read and execute PATH, and what is below (repeatable)
    #[arg(long, env = "BIVOUAC_SANDBOX_READ", value_name = "PATH", value_delimiter = ':',
          value_hint = ValueHint::AnyPath)]
    sandbox_read: Vec<PathBuf>,
}

impl SandboxArgs {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            mode: self.sandbox,
            read: self.sandbox_read.clone(),
        }
    }
}
