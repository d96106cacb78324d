//! `bivouac inspect`: the partitions, filesystems and operating systems of an image.
//!
//! [`report`] is what is found and its JSON, [`render`] its text.

mod render;
pub mod report;

use std::path::PathBuf;

use clap::ValueHint;

use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use super::{df, stdout_sink};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::inspect::facts::{Facts, facts};
use crate::inspect::image_files::ImageFiles;
use crate::inspect::packages::has_rpm;
use crate::launch::Failure;
use crate::protocol::disks::{Root, SkippedMount};
use crate::protocol::warning::{Warning, WarningCode};
use crate::session::SessionError;
use report::ImageInfo;

/// Show the systems, filesystems and partitions of an image, without booting it
///
/// Its partition table, the filesystems with their use, and the operating systems on them. Where
/// a system has rpm, that is run inside the appliance to count the packages. Exits with 1 if
/// something in the image could not be read; a warning names it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    stdout_sink::run(async |output| {
        let mut report = inspector.with_image(&args.image, examine).await?;
        report.image = args.image.as_path().into();
        report.remarks = report.warnings.iter().map(Warning::to_string).collect();
        for remark in &report.remarks {
            tracing::warn!("{remark}");
        }
        let text = match args.json {
            true => {
                let json = serde_json::to_string_pretty(&report);
                json.map_err(anyhow::Error::from)? + "\n"
            }
            false => report.to_string(),
        };
        output.lock().await.write(text.as_bytes()).await?;
        match report
            .warnings
            .iter()
            .any(|warning| warning.code.is_incomplete())
        {
            true => Ok(Status::Negative),
            false => Ok(Status::Success),
        }
    })
}

/// Finds out everything about an image. Of an image that is in use, any error is returned: it may
/// have been read in the middle of a change.
async fn examine(image: &MountedImage) -> Result<ImageInfo, Failure> {
    let filesystems = df::filesystem_usage(image, |_| true).await?;
    let mut report = ImageInfo::new(&image.survey, &filesystems, image.in_use);
    for root in image.chosen_roots()? {
        match system(image, &root).await {
            Ok((facts, failed)) => report.add(root, facts, &failed),
            Err(SessionError::Refused(error)) if !image.in_use => {
                let reason = error.to_string();
                report
                    .warnings
                    .push(Warning::new(WarningCode::System, &root.device, reason));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(report)
}

async fn system(
    image: &MountedImage,
    root: &Root,
) -> Result<(Facts, Vec<SkippedMount>), SessionError> {
    let session = &image.session;
    let files = ImageFiles::new(session, ROOT, image.in_use);
    let failed = session.mount(&root.mounts, ROOT, true, false).await?;
    if has_rpm(files).await? {
        // The image's rpm needs /proc and locks its database. What it writes is discarded.
        session.unmount(ROOT).await?;
        session.mount(&root.mounts, ROOT, false, true).await?;
    }
    let facts = facts(files, &root.mounts).await;
    session.unmount(ROOT).await?;
    Ok((facts?, failed))
}
