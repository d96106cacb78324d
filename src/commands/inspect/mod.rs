//! `bivouac inspect`: what an image holds: partitions, filesystems and operating systems.
//!
//! [`report`] is what is found, [`show`] how people read it.

pub mod report;
pub mod show;

use std::path::PathBuf;

use clap::ValueHint;

use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use super::{Failure, df, results};
use crate::exit::Status;
use crate::guest::boot::ROOT;
use crate::guest::inspect::facts::{Facts, facts};
use crate::guest::inspect::packages::has_rpm;
use crate::guest::inspect::view::View;
use crate::guest::session::SessionError;
use crate::guest::wire::disks::Root;
use report::Report;

/// Show what an image holds, without booting it
///
/// Its partition table, the filesystems with their use, and the operating systems on them. Where
/// a system has rpm, that is run inside the appliance to count the packages.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How the image is opened.
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Looks. Must be called on the main thread, before any other is started.
///
/// # Errors
/// The image cannot be looked into.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    results::run(async |results| {
        let mut report = inspector.with_image(&args.image, examine).await?;
        report.image = args.image.as_path().into();
        let text = match args.json {
            true => {
                let json = serde_json::to_string_pretty(&report);
                json.map_err(anyhow::Error::from)? + "\n"
            }
            false => show::Shown(&report).to_string(),
        };
        results.lock().await.put(text.as_bytes()).await?;
        Ok(Status::Success)
    })
}

/// Finds out everything about an image.
///
/// # Errors
/// The machine's; an image that is in use may be torn.
pub(crate) async fn examine(inside: &MountedImage) -> Result<Report, Failure> {
    let spaces = df::spaces(inside).await?;
    let mut report = Report::new(&inside.survey, &spaces, inside.in_use);
    for root in inside.chosen_roots()? {
        match system(inside, &root).await {
            Ok(facts) => report.add(root, facts),
            Err(SessionError::Refused(error)) if !inside.in_use => {
                report.remarks.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(report)
}

/// Mounts one system, and looks at it.
async fn system(inside: &MountedImage, root: &Root) -> Result<Facts, SessionError> {
    let session = &inside.session;
    let view = View::new(session, ROOT, inside.in_use);
    session.mount(&root.mounts, ROOT, true, false).await?;
    if has_rpm(view).await? {
        // Its own rpm wants /proc, and to lock its database; what it writes is gone with us.
        session.unmount(ROOT).await?;
        session.mount(&root.mounts, ROOT, false, true).await?;
    }
    let facts = facts(view).await;
    session.unmount(ROOT).await?;
    facts
}
