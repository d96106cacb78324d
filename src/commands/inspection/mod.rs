//! What `chroot`, `ls`, `cat`, `cp`, `df`, `tail` and `inspect` have in common: an image's disk is
//! examined and mounted in an appliance, so that hostile filesystems are parsed by a kernel inside a
//! machine.
//!
//! [`Inspector`] opens images, [`MountedImage`] is what the work of a command sees of one, [`roots`]
//! chooses among several root filesystems, and [`report`] is the JSON report.

mod inspector;
pub(crate) mod keys;
mod mounted_image;
pub mod report;
pub mod roots;

use super::args::image::InspectionArgs;
use super::report_file::{ReportFile, with_report};
use crate::exit::Status;
use crate::launch::{Failure, Progress};
pub use inspector::Inspector;
pub(crate) use mounted_image::{MountedImage, is_torn_read, lacks};
use report::{Document, ReportCollector};
pub(crate) use roots::name_of;

/// Does the work of a command, with limits unless it is `chroot` or `mount`, and writes its report if `args` name a file for it.
pub(crate) fn reported(
    command: &'static str,
    args: &InspectionArgs,
    progress: &dyn Progress,
    work: impl FnOnce(Inspector<'_>) -> Result<Status, Failure>,
) -> Result<Status, Failure> {
    let unfinished = Document::unfinished(command);
    let mut file = ReportFile::open(args.report.as_deref(), &unfinished)?;
    let collector = ReportCollector::default();
    let is_limited = !matches!(command, "chroot" | "mount");
    let inspector = Inspector::new(args, progress, &collector, is_limited);
    let outcome = inspector.and_then(work);
    let images = collector.images.borrow();
    let written = file.write(&Document::finished(command, &outcome, &images));
    with_report(outcome, written, |status| *status == Status::Success)
}
