//! The survey on the console, for a kernel that was started with `bivouac.survey`: the disks are
//! looked at, a system that is alone on them is mounted, and the machine powers off. It shows
//! what the appliance sees where no host talks with it, and tests ask it about many images at
//! once.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::mount;
use crate::guest::wire::disks::Survey;

/// Where the system is mounted.
const TARGET: &str = "/sysroot";

/// One line on the console, as JSON behind [`MARK`].
#[derive(Debug, Serialize)]
struct Answer {
    survey: Survey,
    /// What failed of the mounts of the only root; `None` where there is not one root.
    mounted: Option<Result<Vec<String>, String>>,
    /// The lines of /proc/self/mounts below it.
    mounts: Vec<String>,
    milliseconds: Milliseconds,
}

/// How long what took.
#[derive(Debug, Serialize)]
struct Milliseconds {
    /// From the kernel's start to ours.
    kernel: u128,
    disks: u128,
    survey: u128,
    mount: u128,
}

/// What stands before the line.
pub const MARK: &str = "bivouac-survey: ";

/// How many disks to wait for, where the kernel's command line asks for the survey:
/// `bivouac.survey=3`.
pub fn asked() -> Option<usize> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    let words = line.split_whitespace();
    let mut asked = words.filter_map(|word| word.strip_prefix("bivouac.survey="));
    asked.next()?.parse().ok()
}

/// Does it all. Needs /proc, /sys and /dev.
pub fn answer(disks: usize) {
    let kernel = uptime();
    let start = Instant::now();
    let (mut modules, remarks) = super::jobs::ready(disks);
    let found = start.elapsed();
    let mut survey = super::survey(&mut modules);
    survey.remarks.extend(remarks);
    let surveyed = start.elapsed();
    let target = Path::new(TARGET);
    let mounted = match &survey.roots[..] {
        [root] => Some(
            mount::plan(&root.mounts, target, &mut modules)
                .map(|failed| [failed, mount::for_commands(target)].concat())
                .map_err(|error| mount::chain(&error)),
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
    // There is nobody to complain to.
    let console = File::options().write(true).open("/dev/console");
    if let (Ok(mut console), Ok(text)) = (console, serde_json::to_string(&answer)) {
        let _ = writeln!(console, "\n{MARK}{text}");
        // What the serial port has not sent by then is lost when the machine powers off.
        let _ = nix::sys::termios::tcdrain(&console);
    }
}

fn uptime() -> Duration {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    clock.map_or(Duration::ZERO, Duration::from)
}
