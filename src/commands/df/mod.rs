//! `bivouac df`: how full the filesystems of images are.

pub mod table;
pub(crate) mod unread;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use futures_util::{StreamExt, stream};

use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use super::stdout_sink;
use super::stdout_sink::StdoutSink;
use crate::exit::Status;
use crate::inspect::filesystems::filesystems;
use crate::launch::Failure;
use crate::protocol::disks::Mount;
use crate::protocol::warning::{Warning, WarningCode};
use crate::protocol::{FileSystem, PathAt};
use crate::session::SessionError;
use crate::text::csv;
use table::FsUsage;

/// Show how full the filesystems of images are, without booting them
///
/// Each image is read in an appliance of its own, so that copies of one disk do not conflict.
/// Exits with 1 if an image, or anything in one, could not be read; a warning names it.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// Show sizes in units that fit them, such as 1.5G
    #[arg(long, short = 'h')]
    pub human_readable: bool,
    /// Number of images to read at once
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
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Where each filesystem is mounted in turn.
const MOUNT_POINT: &str = "/look";

/// Must be called on the main thread, before any other is started. An image that cannot be read is
/// reported, and the others go on; a signal or a timeout ends them all.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    args.options.check_images(&args.images)?;
    stdout_sink::run(async |output| {
        let look = async |image: &Path| inspector.with_image(image, image_usage).await;
        let work = args
            .images
            .iter()
            .map(|image| async move { (image, look(image).await) });
        let mut found = Vec::new();
        let mut complete = true;
        let several = args.images.len() > 1;
        let looks = stream::iter(work).buffered(args.parallel.get());
        for (image, result) in looks.collect::<Vec<_>>().await {
            let name = match several {
                true => format!("{}: ", image.display()),
                false => String::new(),
            };
            match result {
                Ok(read) => {
                    for warning in &read.warnings {
                        tracing::warn!("{name}{warning}");
                        complete &= !warning.code.is_incomplete();
                    }
                    for one in read.filesystems {
                        complete &= one.error.is_none();
                        let image = image.as_path().into();
                        found.push(FsUsage { image, ..one });
                    }
                }
                Err(failure)
                    if !several
                        || matches!(failure.status, Status::Signalled(_) | Status::TimedOut) =>
                {
                    return Err(failure);
                }
                Err(failure) => {
                    tracing::error!("{name}{:#}", failure.error);
                    complete = false;
                }
            }
        }
        show(args, &found, &mut *output.lock().await).await?;
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}

async fn show(args: &Args, found: &[FsUsage], output: &mut StdoutSink) -> Result<(), Failure> {
    let text = if args.json {
        let lines = found
            .iter()
            .map(FsUsage::json)
            .collect::<Result<Vec<_>, _>>();
        lines.map_err(anyhow::Error::from)?.concat()
    } else if args.csv {
        let head = std::iter::once(csv::line(table::COLUMNS));
        head.chain(found.iter().map(FsUsage::csv))
            .flatten()
            .collect()
    } else {
        table::table(found, args.human_readable)
    };
    Ok(output.write(&text).await?)
}

/// What `df` shows of one image.
struct ImageUsage {
    filesystems: Vec<FsUsage>,
    /// What is not shown, or doubtful.
    warnings: Vec<Warning>,
}

/// All filesystems and what else is there, or the filesystems that the system of `--root` mounts.
async fn image_usage(image: &MountedImage) -> Result<ImageUsage, Failure> {
    if !image.has_named_root() {
        let filesystems = filesystem_usage(image, |_| true).await?;
        return Ok(unread::with_the_unread(&image.survey, filesystems));
    }
    let root = image.root()?;
    let is_mounted = |device: &str| root.mounts.iter().any(|mount| mount.source == device);
    let filesystems = filesystem_usage(image, is_mounted).await?;
    let skipped = root.left_out.iter().filter(|skipped| skipped.missing);
    let skipped = skipped.map(|skipped| {
        let reason = format!("not mounted: {skipped}");
        Warning::new(WarningCode::Mount, &root.device, reason)
    });
    let about = image.warnings_about(&root).cloned();
    let warnings = unread::with_errors(&filesystems, about.chain(skipped));
    Ok(ImageUsage {
        warnings,
        filesystems,
    })
}

/// Mounts the wanted filesystems one after the other and calls statvfs(3). A filesystem that cannot
/// be mounted has an error in the result, unless the image is in use: it may have been read in the
/// middle of a change, and the whole call fails.
pub(super) async fn filesystem_usage(
    image: &MountedImage,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<FsUsage>, Failure> {
    let mut all = Vec::new();
    let found = filesystems(&image.survey).into_iter();
    for found in found.filter(|found| is_wanted(found.device)) {
        let mut usage = FsUsage {
            in_use: image.in_use,
            ..FsUsage::of(&found)
        };
        let mount = Mount::new(found.device, "/", found.content.kind);
        match statfs(image, mount).await {
            Ok(found) => usage.fill(&found),
            Err(SessionError::Refused(error)) if !image.in_use => {
                usage.error = Some(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        all.push(usage);
    }
    Ok(all)
}

async fn statfs(image: &MountedImage, mount: Mount) -> Result<FileSystem, SessionError> {
    let session = &image.session;
    session.mount(&[mount], MOUNT_POINT, true, false).await?;
    let found = session.statfs(PathAt::new(MOUNT_POINT, b"/")).await;
    session.unmount(MOUNT_POINT).await?;
    found
}
