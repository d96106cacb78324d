//! What of an image `df` cannot measure: a row for each device, with the reason.

use super::ImageUsage;
use super::table::FsUsage;
use crate::inspect::filesystems::contents;
use crate::protocol::disks::Survey;
use crate::protocol::warning::{Warning, WarningCode};

/// Adds a row for each device that the survey warns about and that is no filesystem, and the
/// warning to the row of one that is.
pub(super) fn with_the_unread(survey: &Survey, mut filesystems: Vec<FsUsage>) -> ImageUsage {
    let warnings = with_errors(&filesystems, survey.warnings.iter().cloned());
    let contents = contents(survey);
    for warning in warnings.iter().filter(|one| one.code.is_incomplete()) {
        let Some(device) = &warning.device else {
            continue;
        };
        let known = filesystems.iter_mut().find(|one| one.device == *device);
        if let Some(known) = known {
            known.error.get_or_insert_with(|| warning.reason.clone());
            continue;
        }
        let content = contents.iter().find(|found| found.device == device);
        filesystems.push(FsUsage {
            device: device.clone(),
            error: Some(warning.reason.clone()),
            ..content.map(FsUsage::of).unwrap_or_default()
        });
    }
    ImageUsage {
        filesystems,
        warnings,
    }
}

/// These warnings, and one for each filesystem that was not mounted and has none among them.
pub(crate) fn with_errors(
    filesystems: &[FsUsage],
    warnings: impl Iterator<Item = Warning>,
) -> Vec<Warning> {
    let mut warnings: Vec<_> = warnings.collect();
    for found in filesystems {
        let mut known = warnings.iter();
        let is_known = known.any(|known| known.device.as_ref() == Some(&found.device));
        if let (Some(error), false) = (&found.error, is_known) {
            warnings.push(Warning::new(WarningCode::NotMounted, &found.device, error));
        }
    }
    warnings
}
