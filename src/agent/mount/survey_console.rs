//! The survey on the console, for a kernel started with `bivouac.survey=N`: surveys the disks,
//! mounts the operating system if there is exactly one, and prints both as one line of JSON. It
//! shows what the appliance finds without a host, and tests use it for many images at once.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::termios::tcdrain;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::apply::{apply, mount_for_commands};
use super::ops::wait_for_disks;
use super::survey::survey;
use crate::protocol::disks::{SkippedMount, Survey};

const TARGET: &str = "/sysroot";

/// The line, as JSON after [`MARK`].
#[derive(Debug, Serialize)]
struct Answer {
    survey: Survey,
    /// The mounts that failed; `None` unless there is exactly one root.
    mounted: Option<Result<Vec<SkippedMount>, String>>,
    /// The lines of /proc/self/mounts below the target.
    mounts: Vec<String>,
    milliseconds: Milliseconds,
}

#[derive(Debug, Serialize)]
struct Milliseconds {
    /// From the start of the kernel to that of the agent.
    kernel: u128,
    disks: u128,
    survey: u128,
    mount: u128,
}

pub const MARK: &str = "bivouac-survey: ";

/// Waits for `disks` disks, surveys them and prints the result. Needs /proc, /sys and /dev.
pub(crate) fn run(disks: usize) {
    let clock = clock_gettime(ClockId::CLOCK_MONOTONIC);
    let kernel = clock.map_or(Duration::ZERO, Duration::from);
    let start = Instant::now();
    let (mut modules, warnings) = wait_for_disks(disks);
    let found = start.elapsed();
    let mut survey = survey(&mut modules);
    survey.warnings.extend(warnings);
    let surveyed = start.elapsed();
    let target = Path::new(TARGET);
    let mounted = match &survey.roots[..] {
        [root] => Some(
            apply(&root.mounts, target, &mut modules)
                .map(|failed| [failed, mount_for_commands(target)].concat())
                .map_err(|error| error.with_cause()),
        ),
        _ => None,
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter(|line| line.contains(TARGET));
    let answer = Answer {
        survey,
        mounted,
        mounts: below.map(str::to_owned).collect(),
        milliseconds: Milliseconds {
            kernel: kernel.as_millis(),
            disks: found.as_millis(),
            survey: (surveyed - found).as_millis(),
            mount: (start.elapsed() - surveyed).as_millis(),
        },
    };
    let console = File::options().write(true).open("/dev/console");
    if let (Ok(mut console), Ok(text)) = (console, serde_json::to_string(&answer)) {
        // A failure cannot be reported anywhere else.
        let _ = writeln!(console, "\n{MARK}{text}");
        // Powering off would lose what is still in the kernel's buffer.
        let _ = tcdrain(&console);
    }
}
