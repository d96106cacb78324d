//! Runs the programs of a package manager, with what they print in files. They end with this process.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::job::Job;
use crate::launch::Failure;
use crate::sys::ChildSetup;
use crate::text::size;

/// How often a program that runs is seen to.
const TICK: Duration = Duration::from_millis(50);

pub(super) const BY_HAND: &str =
    "download the kernel's packages elsewhere, and `bivouac kernel fetch ./FILE.deb` (or .rpm)";

/// Runs the programs of a package manager, one after the other.
pub(super) struct Programs<'a> {
    pub job: &'a Job,
    /// A directory for what they write.
    pub scratch: &'a Path,
}

impl Programs<'_> {
    /// Runs a program in `directory` and returns what it printed. It is killed with this process, and
    /// if a signal comes.
    pub fn run(
        &self,
        program: &str,
        args: &[&str],
        directory: &Path,
        mut tick: impl FnMut(&Job),
    ) -> Result<String, Failure> {
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.scratch.join(name));
        let to = |path: &Path| File::create(path).map(Stdio::from);
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(directory)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(to(&stdout).context("creating a file for messages")?)
            .stderr(to(&stderr).context("creating a file for messages")?);
        ChildSetup::new(&[], None, Default::default()).apply(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let status = loop {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("waiting for {program}"))?
            {
                break status;
            }
            tick(self.job);
            if let Err(error) = self.job.go_on() {
                // It leads a process group of its own.
                let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                let _ = child.wait();
                return Err(anyhow::Error::from(error).into());
            }
            thread::sleep(TICK);
        };
        let read = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if status.success() {
            return Ok(read(&stdout));
        }
        let said = last_lines(&read(&stderr));
        let how = match status.signal() {
            Some(signal) => format!("{program} was killed by signal {signal}"),
            None => format!("{program} failed{said}"),
        };
        Err(Failure::with_hint(anyhow!(how), BY_HAND))
    }

    /// [`Programs::run`] for a download of `total` bytes (0 if that is not known) to `directory`, with
    /// what has come so far as the status.
    pub fn download(
        &self,
        program: &str,
        args: &[&str],
        directory: &Path,
        total: u64,
    ) -> Result<String, Failure> {
        self.run(program, args, directory, |job| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
            job.status(format!(
                "downloading a kernel: {}",
                amount(sizes.sum(), total)
            ));
        })
    }
}

/// The last three lines that are no warnings of apt's, behind a colon.
fn last_lines(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("W:"))
        .collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    match last {
        [] => String::new(),
        last => format!(": {}", last.join("; ")),
    }
}

/// `34.5 of 70.6 MB`.
fn amount(done: u64, all: u64) -> String {
    match all {
        0 => size::short(done),
        all => format!("{} of {}", size::short(done), size::short(all)),
    }
}
