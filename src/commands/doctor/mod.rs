//! `bivouac doctor`: what this host can do, what is in the way, and how to mend it. Tries each
//! thing as a run would, changes nothing, and leaves nothing behind.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

mod checks;

use super::Failure;
use crate::exit::Status;
use crate::host::kvm;

/// What this host can do, what is in the way, and how to mend it
///
/// Tries each thing as a run would and changes nothing. Exits with 1 if `bivouac run` could
/// not work here.
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
}

/// What was found, in the order in which a run needs it.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Whether `bivouac run` can work here: no finding is a failure.
    pub works: bool,
    /// The findings.
    pub findings: Vec<Check>,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What it is about: `qemu`, `devices`, `network`, `kvm`, `overlay`, `kernel` or `uefi`.
    pub about: &'static str,
    /// How it stands.
    pub verdict: CheckStatus,
    /// One line.
    pub text: String,
    /// What would better it; one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// `run` works, but slower or with less.
    Warn,
    /// `run` cannot work.
    Fail,
}

impl Diagnosis {
    fn new(findings: Vec<Check>) -> Self {
        let works = findings
            .iter()
            .all(|finding| finding.verdict != CheckStatus::Fail);
        Self { works, findings }
    }

    /// [`Status::Negative`] where `run` could not work.
    pub fn status(&self) -> Status {
        match self.works {
            true => Status::Success,
            false => Status::Negative,
        }
    }
}

impl fmt::Display for Diagnosis {
    /// A line each, and the mend on the next, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check {
            verdict,
            text,
            mend,
            ..
        } in &self.findings
        {
            let word = match verdict {
                CheckStatus::Ok => "ok",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "fail",
            };
            writeln!(f, "{word:<4}  {text}")?;
            if let Some(mend) = mend {
                writeln!(f, "      mend: {mend}")?;
            }
        }
        Ok(())
    }
}

/// Examines the host. Some 300 ms: QEMU is really started, without a machine.
pub fn run(args: &Args) -> Result<Diagnosis, Failure> {
    let mut found = checks::qemu(args);
    found.push(checks::kvm(&kvm::check()));
    found.push(checks::overlay(args));
    found.push(checks::kernel(args));
    found.push(checks::uefi());
    Ok(Diagnosis::new(found))
}
