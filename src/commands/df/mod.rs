//! `bivouac df`: the space of every filesystem of an image, or of many.

pub mod table;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use futures_util::{StreamExt, stream};

use super::inside::{self, Inside};
use super::results::Results;
use super::{Failure, Voice, results};
use crate::exit::Status;
use crate::guest::inspect::filesystems::filesystems;
use crate::guest::session::SessionError;
use crate::guest::wire::disks::Mount;
use crate::guest::wire::{At, FileSystem};
use crate::text::csv;
use table::Space;

/// Show the space of every filesystem of images, without booting them
///
/// Each image is looked into by an appliance of its own, so that copies of one disk do not get
/// in each other's way. Exits with 1 where an image or a filesystem could not be looked into.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// Show sizes in units that fit them, such as 1.5G
    #[arg(long, short = 'h')]
    pub human_readable: bool,
    /// Look into so many images at once
    #[arg(long, short = 'P', value_name = "N", default_value = "1")]
    pub parallel: NonZeroUsize,
    /// Print JSON, one object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV
    #[arg(long)]
    pub csv: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// How the images are opened.
    #[command(flatten)]
    pub options: inside::Options,
}

/// Where a filesystem is mounted while it is asked.
const PLACE: &str = "/look";

/// Looks. Must be called on the main thread, before any other is started.
///
/// # Errors
/// A signal or a time-out cut it short. What is wrong with one image is said, and the others go on.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Status, Failure> {
    let options = args.options.settled()?;
    results::run(async |results| {
        let look = async |image: &Path| inside::look(&options, image, voice, spaces).await;
        let work = args
            .images
            .iter()
            .map(|image| async move { (image, look(image).await) });
        let mut found = Vec::new();
        let mut complete = true;
        let looks = stream::iter(work).buffered(args.parallel.get());
        for (image, result) in looks.collect::<Vec<_>>().await {
            match result {
                Ok(spaces) => found.extend(spaces.into_iter().map(|space| Space {
                    image: image.as_path().into(),
                    ..space
                })),
                Err(failure) if is_the_end(&failure) => return Err(failure),
                Err(failure) if args.images.len() == 1 => return Err(failure),
                Err(failure) => {
                    tracing::error!("{}: {:#}", image.display(), failure.error);
                    complete = false;
                }
            }
        }
        for space in &found {
            if let Some(error) = &space.error {
                tracing::error!("{}", error);
                complete = false;
            }
        }
        show(args, &found, &mut *results.lock().await).await?;
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}

/// A user who ends one means all.
fn is_the_end(failure: &Failure) -> bool {
    matches!(failure.status, Status::Signalled(_) | Status::TimedOut)
}

async fn show(args: &Args, found: &[Space], results: &mut Results) -> Result<(), Failure> {
    let text = if args.json {
        let lines = found.iter().map(Space::json).collect::<Result<Vec<_>, _>>();
        lines.map_err(anyhow::Error::from)?.concat()
    } else if args.csv {
        let head = std::iter::once(csv::line(table::COLUMNS));
        head.chain(found.iter().map(Space::csv)).flatten().collect()
    } else {
        table::table(found, args.human_readable)
    };
    Ok(results.put(&text).await?)
}

/// Mounts one filesystem after the other, and asks it.
///
/// # Errors
/// The machine's; an image that is in use may be torn.
pub async fn spaces(inside: &Inside) -> Result<Vec<Space>, Failure> {
    let mut spaces = Vec::new();
    for found in filesystems(&inside.survey) {
        let mut space = Space {
            device: found.device.to_owned(),
            kind: found.content.kind.name(),
            uuid: found.content.uuid.clone(),
            label: found.content.label.clone(),
            device_size: found.bytes,
            in_use: inside.in_use,
            ..Space::default()
        };
        let mount = Mount {
            source: found.device.to_owned(),
            target: "/".to_owned(),
            kind: Some(found.content.kind),
            options: Vec::new(),
        };
        match ask(inside, mount).await {
            Ok(said) => space.fill(&said),
            Err(SessionError::Refused(trouble)) if !inside.in_use => {
                space.error = Some(trouble.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        spaces.push(space);
    }
    Ok(spaces)
}

async fn ask(inside: &Inside, mount: Mount) -> Result<FileSystem, SessionError> {
    let session = &inside.session;
    session.mount(&[mount], PLACE, true, false).await?;
    let at = At {
        root: PLACE.into(),
        path: "/".into(),
    };
    let said = session.statfs(at).await;
    session.unmount(PLACE).await?;
    said
}
