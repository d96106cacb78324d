//! `bivouac ls`: lists directories of an image.
//!
//! [`list`] goes through them, [`tree`] reads many of them ahead, [`limits`] bounds what is kept.
//! [`format_long`] prints entries as `ls -l` does, [`format_records`] as JSON and CSV; [`accounts`]
//! has the names of the image's users.

pub mod accounts;
pub mod format_long;
pub mod format_records;
pub mod limits;
pub mod list;
pub mod tree;

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use super::args::image::InspectionArgs;
use super::image_path::{ImagePath, by_image, exists};
use super::inspection::Inspector;
use super::{Failure, stdout_sink};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::text::csv;
use list::{ListOptions, Lister};

/// List directories of an image, without booting it
///
/// The image's system is mounted as its fstab says; of an image without a system, its only
/// filesystem. Times are in UTC. Exits with 1 if something could not be listed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// An image and a path in it; without a path its root directory
    #[arg(value_name = "IMAGE[:PATH]", required = true)]
    pub places: Vec<OsString>,
    /// Show modes, owners, sizes and times, as ls -l does
    #[arg(long, short)]
    pub long: bool,
    /// Show everything below too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Show names that begin with a dot too
    #[arg(long, short)]
    pub all: bool,
    /// Show numbers of users and groups instead of the image's names for them
    #[arg(long, short)]
    pub numeric: bool,
    /// Print JSON, one object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV
    #[arg(long)]
    pub csv: bool,
    /// How the image is opened.
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Names.
    Short,
    /// As `ls -l`.
    Long,
    /// One object a line.
    Json,
    /// RFC 4180.
    Csv,
}

impl Args {
    fn form(&self) -> Form {
        match self {
            Self { json: true, .. } => Form::Json,
            Self { csv: true, .. } => Form::Csv,
            Self { long: true, .. } => Form::Long,
            _ => Form::Short,
        }
    }
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let places = args.places.iter();
    let places = places.map(|words| ImagePath::parse(words, exists));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let wanted = ListOptions {
        form: args.form(),
        recursive: args.recursive,
        all: args.all,
        numeric: args.numeric,
        headed: places.len() > 1,
        now: now.map_or(0, |now| now.as_secs() as i64),
    };
    stdout_sink::run(async |output| {
        if wanted.form == Form::Csv {
            let mut output = output.lock().await;
            output.write(&csv::line(format_records::COLUMNS)).await?;
            output.commit().await?;
        }
        let mut complete = true;
        for (number, (image, places)) in by_image(places).iter().enumerate() {
            complete &= inspector
                .with_image(image, async |inside| {
                    let mut output = output.lock().await;
                    output.begin(inside.in_use)?;
                    output.mark(&inside.phases);
                    inside.enter(true, false).await?;
                    let (session, first) = (&inside.session, number == 0);
                    let lister =
                        Lister::new(session, ROOT, wanted, &mut output, inside.in_use, first);
                    lister.await.list(places).await
                })
                .await?;
            output.lock().await.commit().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}
