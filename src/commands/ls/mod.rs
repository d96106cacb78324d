//! `bivouac ls`: what is in an image's directories.
//!
//! [`list`] goes through them, [`tree`] brings many at once, [`long`] shows entries to people and
//! [`records`] to programs, [`names`] knows who is who in the image.

pub mod held;
pub mod list;
pub mod long;
pub mod names;
pub mod records;
pub mod tree;

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use super::image_path::{ImagePath, by_image, exists};
use super::{Failure, Voice, inside, results};
use crate::exit::Status;
use crate::guest::boot::ROOT;
use crate::text::csv;
use list::{Lister, Wanted};

/// List directories of an image, without booting it
///
/// The image's system is mounted as its fstab says, or its only filesystem where it holds no
/// system. Times are in UTC. Exits with 1 where something could not be listed.
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
    pub options: inside::Options,
}

/// How entries are shown.
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

/// Lists. Must be called on the main thread, before any other is started.
///
/// # Errors
/// The image cannot be looked into.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Status, Failure> {
    let places = args.places.iter();
    let places = places.map(|words| ImagePath::parse(words, exists));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let wanted = Wanted {
        form: args.form(),
        recursive: args.recursive,
        all: args.all,
        numeric: args.numeric,
        headed: places.len() > 1,
        now: now.map_or(0, |now| now.as_secs() as i64),
    };
    let options = args.options.settled()?;
    results::run(async |results| {
        if wanted.form == Form::Csv {
            let mut results = results.lock().await;
            results.put(&csv::line(records::COLUMNS)).await?;
            results.keep().await?;
        }
        let mut complete = true;
        for (number, (image, places)) in by_image(places).iter().enumerate() {
            complete &= inside::look(&options, image, voice, async |inside| {
                let mut results = results.lock().await;
                results.begin(inside.in_use)?;
                results.mark(&inside.phases);
                inside.enter(true, false).await?;
                let (session, first) = (&inside.session, number == 0);
                let lister = Lister::new(session, ROOT, wanted, &mut results, inside.in_use, first);
                lister.await.list(places).await
            })
            .await?;
            results.lock().await.keep().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}
