//! `bivouac log`: the log of an image's system.
//!
//! [`journals`] finds and reads the journal, [`syslog_files`] the classic files. What messages are, and which
//! are wanted, is in [`crate::inspect::log`].

mod journals;
mod syslog_files;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueHint;

use super::args::image::InspectionArgs;
use super::image_path::ImagePath;
use super::inspection::{Inspector, MountedImage};
use super::stdout_sink::{self, StdoutSink};
use crate::exit::Status;
use crate::inspect::log::record::Record;
use crate::inspect::log::select::{BootChoice, Priority, Selection};
use crate::launch::Failure;
use crate::text::time::parse_instant;

/// Show the log of an image's system, without booting it
///
/// The journal of systemd, or where there is none /var/log/syslog or /var/log/messages, with the files
/// that were rotated. Times are in UTC. Exits with 1 if something could not be read, or there is no log.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Show one boot only: the last one, with --boot=-1 the one before, or by its ID
    #[arg(long, short, value_name = "N|ID", num_args = 0..=1, require_equals = true,
          default_missing_value = "0", allow_hyphen_values = true)]
    pub boot: Option<BootChoice>,
    /// Show messages of a unit, or of a program in log files (repeatable)
    #[arg(long, short, value_name = "UNIT")]
    pub unit: Vec<String>,
    /// Show messages of this priority or a more urgent one: emerg, alert, crit, err, warning, notice, info,
    /// debug, or 0 to 7
    #[arg(long, short, value_name = "PRIORITY")]
    pub priority: Option<Priority>,
    /// Show messages of this time or later: 2026-01-31, "2026-01-31 12:00", or 2h for as long ago
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub since: Option<i64>,
    /// Show messages of this time or earlier
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub until: Option<i64>,
    /// Show the last N messages only
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<usize>,
    /// Show the log files even if there is a journal
    #[arg(long)]
    pub syslog: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// The most bytes of messages that are kept to be sorted.
const MOST: usize = 256 << 20;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// In the order of time.
    records: Vec<Record>,
    /// Whether there is a log at all.
    is_there: bool,
    /// Something could not be read; it was said.
    incomplete: bool,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let selection = Selection {
        boot: args.boot.clone(),
        units: args.unit.clone(),
        priority: args.priority,
        since: args.since,
        until: args.until,
        lines: args.lines,
    };
    let place = ImagePath {
        image: args.image.clone(),
        path: b"/var/log".to_vec(),
        is_named: true,
    };
    stdout_sink::run(async |output| {
        let showing = inspector.with_roots(vec![place], output, true, async |image, _, output| {
            let found = find(image, args, &selection).await?;
            if !found.is_there {
                return Err(Failure::with_hint(
                    anyhow!(
                        "the system has no journal, no /var/log/syslog and no /var/log/messages"
                    ),
                    format!("bivouac ls -R {}:/var/log", args.image.display()),
                ));
            }
            show(&found.records, args.json, output).await?;
            Ok(!found.incomplete)
        });
        showing.await
    })
}

async fn find(image: &MountedImage, args: &Args, selection: &Selection) -> Result<Found, Failure> {
    if !args.syslog {
        let found = journals::read(image, selection).await?;
        if found.is_there {
            return Ok(found);
        }
    }
    syslog_files::read(image, selection).await
}

/// Prints messages; of a journal with a line where another boot begins.
async fn show(records: &[Record], json: bool, output: &mut StdoutSink) -> Result<(), Failure> {
    let mut boot = None;
    for record in records {
        let text = match json {
            true => record.json().map_err(anyhow::Error::from)?,
            false => {
                if boot.is_some_and(|boot| record.boot != boot)
                    && let Some(id) = record.boot_id()
                {
                    let line = format!("-- Boot {id} --\n");
                    output.write(line.as_bytes()).await?;
                }
                boot = Some(record.boot);
                record.text()
            }
        };
        output.write(&text).await?;
    }
    Ok(())
}

/// The error of a log that does not fit in memory.
fn too_long() -> Failure {
    Failure::with_hint(
        anyhow!("the log has more than {} MiB of messages", MOST >> 20),
        "--since TIME, --boot, --unit or -n N",
    )
}
