//! `bivouac doctor`: checks what this host can do, what is missing, and how to fix it. Tries each thing
//! as a run would, changes nothing, and leaves nothing behind.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

mod checks;
mod tools;

use super::args::sandbox::SandboxArgs;
use crate::exit::Status;
use crate::host::kvm;
use crate::launch::Failure;

/// Check what this host can do, what is missing, and how to fix it
///
/// Tries each thing as a run would and changes nothing. Exits with 1 if `bivouac run` cannot work
/// here.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// QEMU's emulator, a path or a name in PATH
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// The appliance's kernel
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Where overlays go
    #[arg(long, value_name = "DIR")]
    pub overlay_dir: Option<PathBuf>,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Whether `bivouac run` can work here: no check failed.
    pub works: bool,
    /// In the order in which a run needs them.
    #[serde(rename = "findings")]
    pub checks: Vec<Check>,
    /// What the appliance can mount, if its kernel was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystems: Option<Filesystems>,
}

/// The filesystems that are recognised, by whether the appliance's kernel has a driver.
#[derive(Debug, Serialize)]
pub struct Filesystems {
    pub readable: Vec<&'static str>,
    pub unreadable: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct Check {
    /// `qemu`, `devices`, `network`, `sandbox`, `kvm`, `overlay`, `agent`, `kernel`,
    /// `filesystems`, `uefi` or `tools`.
    pub about: &'static str,
    #[serde(rename = "verdict")]
    pub status: CheckStatus,
    pub text: String,
    /// The suggested fix, one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Ok,
    /// `run` works, but slower or with fewer features.
    Warn,
    Fail,
}

impl Diagnosis {
    fn new(checks: Vec<Check>) -> Self {
        let works = checks.iter().all(|check| check.status != CheckStatus::Fail);
        Self {
            works,
            checks,
            filesystems: None,
        }
    }

    /// [`Status::Negative`] if `run` cannot work.
    pub fn status(&self) -> Status {
        match self.works {
            true => Status::Success,
            false => Status::Negative,
        }
    }
}

impl fmt::Display for Diagnosis {
    /// A line for each check, with the suggested fix on the next, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let word = match check.status {
                CheckStatus::Ok => "ok",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "fail",
            };
            writeln!(f, "{word:<4}  {}", check.text)?;
            if let Some(hint) = &check.hint {
                writeln!(f, "      hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// Checks the host. Takes about 300 ms: QEMU is really started, without a machine.
pub fn run(args: &Args) -> Result<Diagnosis, Failure> {
    let mut found = checks::qemu(args);
    found.extend(checks::sandbox(args));
    found.push(checks::kvm(&kvm::check()));
    found.push(checks::overlay(args));
    found.push(checks::agent());
    found.push(checks::kernel(args));
    let filesystems = checks::filesystems(args);
    found.extend(filesystems.as_ref().map(checks::readable));
    found.push(checks::uefi());
    found.extend(tools::checks());
    Ok(Diagnosis {
        filesystems,
        ..Diagnosis::new(found)
    })
}
