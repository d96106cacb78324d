//! `bivouac doctor`: what this host can do, what is in the way, and how to mend it. Tries each
//! thing as a run would, changes nothing, and leaves nothing behind.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

mod findings;

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
pub struct Report {
    /// Whether `bivouac run` can work here: no finding is a failure.
    pub works: bool,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What it is about: `qemu`, `devices`, `network`, `kvm`, `overlay`, `kernel` or `uefi`.
    pub about: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// One line.
    pub text: String,
    /// What would better it; one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// `run` works, but slower or with less.
    Warn,
    /// `run` cannot work.
    Fail,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let works = findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Fail);
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

impl fmt::Display for Report {
    /// A line each, and the mend on the next, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding {
            verdict,
            text,
            mend,
            ..
        } in &self.findings
        {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "fail",
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
///
/// # Errors
/// None: what fails is a finding.
pub fn run(args: &Args) -> Result<Report, Failure> {
    let mut found = findings::qemu(args);
    found.push(findings::kvm(&kvm::check()));
    found.push(findings::overlay(args));
    found.push(findings::kernel(args));
    found.push(findings::uefi());
    Ok(Report::new(found))
}
