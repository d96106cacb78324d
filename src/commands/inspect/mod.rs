//! `bivouac inspect`: the partitions, filesystems and operating systems of images.
//!
//! [`report`] is what is found and its JSON, [`render`] its text, [`sbom`] a bill of materials.

mod render;
pub mod report;
pub mod sbom;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use super::{df, stdout_sink};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::inspect::facts::{Facts, facts};
use crate::inspect::image_files::ImageFiles;
use crate::launch::Failure;
use crate::protocol::ByteString;
use crate::protocol::disks::{Root, SkippedMount};
use crate::protocol::warning::{Warning, WarningCode};
use crate::session::SessionError;
use render::PackageTable;
use report::ImageInfo;
use sbom::{Origin, SbomFormat};

/// Show the systems, filesystems and partitions of images, without booting them
///
/// Their partition tables, the filesystems with their use, and the operating systems on them. Exits
/// with 1 if something in an image could not be read; a warning names it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The disk images
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// Print JSON; of several images one object a line
    #[arg(long)]
    pub json: bool,
    /// Show the installed packages alone; with --json add them to the rest
    #[arg(long)]
    pub packages: bool,
    /// Print a bill of materials: the packages with their package URLs, in JSON
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["json", "packages"])]
    pub sbom: Option<SbomFormat>,
    /// Number of images to read at once; default the number of CPUs
    #[arg(long, short = 'P', value_name = "N")]
    pub parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// The most images that are read at once by default: each takes an appliance and its memory.
const MOST_AT_ONCE: usize = 8;

impl Args {
    fn wants_packages(&self) -> bool {
        self.packages || self.sbom.is_some()
    }

    fn at_once(&self) -> usize {
        let cpus = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let default = || cpus().get().min(MOST_AT_ONCE);
        self.parallel.map_or_else(default, NonZeroUsize::get)
    }

    /// What is printed of an image.
    fn text(&self, report: &ImageInfo) -> Result<String, Failure> {
        match self {
            Self {
                sbom: Some(format), ..
            } => self.json_text(&sbom::sbom(report, *format, &Origin::now())),
            Self { json: true, .. } => self.json_text(report),
            Self { packages: true, .. } => Ok(PackageTable(report).to_string()),
            _ => Ok(report.to_string()),
        }
    }

    /// One object a line where there are several images.
    fn json_text(&self, value: &impl Serialize) -> Result<String, Failure> {
        let text = match self.images.len() {
            1 => serde_json::to_string_pretty(value),
            _ => serde_json::to_string(value),
        };
        Ok(text.map_err(anyhow::Error::from)? + "\n")
    }
}

/// Must be called on the main thread, before any other is started. Of several images, one that cannot
/// be read is reported, and the others go on; a signal or a timeout ends them all.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    args.options.check_images(&args.images)?;
    let several = args.images.len() > 1;
    let wants_packages = args.wants_packages();
    let work = async |mounted: &MountedImage| examine(mounted, wants_packages).await;
    let examined = async |image: &Path| inspector.with_image(image, work).await;
    stdout_sink::run(async |output| {
        let examined = &examined;
        let images = args.images.iter();
        let each = images.map(|image| async move { (image, examined(image).await) });
        let mut reports = stream::iter(each).buffered(args.at_once());
        let mut complete = true;
        while let Some((image, found)) = reports.next().await {
            let text = match found {
                Ok(report) => {
                    let (report, is_complete) = told(report, image, several);
                    complete &= is_complete;
                    args.text(&report)?
                }
                Err(failure)
                    if !several
                        || matches!(failure.status, Status::Signalled(_) | Status::TimedOut) =>
                {
                    return Err(failure);
                }
                Err(failure) => {
                    complete = false;
                    tracing::error!("{}: {:#}", image.display(), failure.error);
                    match args.json {
                        true => args.json_text(&json!({
                            "image": ByteString::from(image.as_path()),
                            "error": format!("{:#}", failure.error),
                        }))?,
                        false => continue,
                    }
                }
            };
            let mut output = output.lock().await;
            output.write(text.as_bytes()).await?;
            output.flush().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    })
}

/// Prints the warnings of a report. The report, with its image's name, and whether it is complete.
fn told(mut report: ImageInfo, image: &Path, several: bool) -> (ImageInfo, bool) {
    report.image = image.into();
    report.remarks = report.warnings.iter().map(Warning::to_string).collect();
    for remark in &report.remarks {
        match several {
            true => tracing::warn!("{}: {remark}", image.display()),
            false => tracing::warn!("{remark}"),
        }
    }
    let mut warnings = report.warnings.iter();
    let complete = !warnings.any(|warning| warning.code.is_incomplete());
    (report, complete)
}

/// Finds out everything about an image. Of an image that is in use, any error is returned: it may
/// have been read in the middle of a change.
async fn examine(image: &MountedImage, wants_packages: bool) -> Result<ImageInfo, Failure> {
    let filesystems = df::filesystem_usage(image, |_| true).await?;
    let mut report = ImageInfo::new(&image.survey, &filesystems, image.in_use);
    for root in image.chosen_roots()? {
        match system(image, &root, wants_packages).await {
            Ok((facts, failed)) => {
                let packages = facts.packages.as_ref();
                let problem = packages.and_then(|packages| packages.problem.as_ref());
                if let Some(problem) = problem {
                    let warning = Warning::new(WarningCode::System, &root.device, problem);
                    report.warnings.push(warning);
                }
                report.add(root, facts, &failed);
            }
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
    wants_packages: bool,
) -> Result<(Facts, Vec<SkippedMount>), SessionError> {
    let session = &image.session;
    let files = ImageFiles::new(session, ROOT, image.in_use);
    let failed = session.mount(&root.mounts, ROOT, true, false).await?;
    let facts = facts(files, &root.mounts, wants_packages).await;
    session.unmount(ROOT).await?;
    Ok((facts?, failed))
}
