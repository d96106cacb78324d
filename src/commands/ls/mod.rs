//! `bivouac ls`: lists directories of an image.
//!
//! [`list`] goes through them, [`tree`] reads many of them ahead, [`limits`] bounds what is kept.
//! [`extras`] are what is shown only if it is asked for. [`format_long`] prints entries as `ls -l` does, [`format_records`] as JSON and CSV; [`accounts`]
//! has the names of the image's users.

pub mod accounts;
pub mod extras;
pub mod format_long;
pub mod format_records;
pub mod limits;
pub mod list;
pub mod tree;

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use super::args::image::InspectionArgs;
use super::glob;
use super::image_path::{ImagePath, exists};
use super::inspection::Inspector;
use super::stdout_sink;
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::Failure;
use crate::text::csv;
use extras::Extras;
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
    /// Show the SHA-256 of each file
    #[arg(long, value_name = "ALGORITHM", num_args = 0..=1, require_equals = true,
          default_missing_value = "sha256")]
    pub checksum: Option<Algorithm>,
    /// Show extended attributes
    #[arg(long)]
    pub xattrs: bool,
    /// Show the times of modification, access and change in full; implies --long
    #[arg(long)]
    pub times: bool,
    /// Print JSON, one object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV
    #[arg(long)]
    pub csv: bool,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Digests of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Short,
    Long,
    Json,
    Csv,
}

impl Args {
    fn form(&self) -> Form {
        match self {
            Self { json: true, .. } => Form::Json,
            Self { csv: true, .. } => Form::Csv,
            Self { long: true, .. } | Self { times: true, .. } => Form::Long,
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
        extras: Extras {
            checksum: args.checksum.is_some(),
            xattrs: args.xattrs,
            times: args.times,
        },
        headed: places.len() > 1,
        now: now.map_or(0, |now| now.as_secs() as i64),
    };
    stdout_sink::run(async |output| {
        if wanted.form == Form::Csv {
            let mut output = output.lock().await;
            output.write(&csv::line(format_records::COLUMNS)).await?;
            output.commit().await?;
        }
        let listing = inspector.with_roots(
            places,
            output,
            args.recursive,
            async |image, (number, places), output| {
                let (session, is_first) = (&image.session, number == 0);
                let places = &glob::expand(session, places).await?;
                let headed = wanted.headed || places.len() > 1;
                let wanted = ListOptions { headed, ..wanted };
                let lister = Lister::new(session, ROOT, wanted, output, image.in_use, is_first);
                lister.await.list(places).await
            },
        );
        listing.await
    })
}
