//! An image that is attached to an appliance, as the work of a command sees it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::roots;
use crate::appliance::boot::ROOT;
use crate::inspect::filesystems::{filesystems, same};
use crate::launch::Failure;
use crate::launch::appliance_session::ApplianceSession;
use crate::machine::phases::Phases;
use crate::protocol::disks::{Root, Survey};
use crate::protocol::warning::{Warning, WarningCode};
use crate::protocol::{ErrorStage, RemoteError};
use crate::session::{Session, SessionError};

/// What the work of a command sees of an image.
#[derive(Debug)]
pub(crate) struct MountedImage {
    pub session: Session,
    pub survey: Survey,
    /// Another process writes to the image.
    pub in_use: bool,
    /// Whether to print warnings: they were printed if the image is opened again.
    pub(super) warns: bool,
    pub phases: Phases,
    /// What `--root` names.
    pub(super) root: Option<String>,
}

impl MountedImage {
    /// Surveys the disks of an appliance. `root` is what `--root` names.
    pub async fn survey(
        appliance: &mut ApplianceSession,
        root: Option<String>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            survey: appliance.survey().await?,
            session: appliance.session.clone(),
            in_use: appliance.in_use(),
            warns: appliance.warns,
            phases: appliance.phases(),
            root,
        })
    }

    /// The chosen root filesystem: the only one, or the one that `--root` names. Without an
    /// operating system, the only filesystem is one.
    pub fn root(&self) -> Result<Root, Failure> {
        roots::choose(&self.survey, self.root.as_deref())
    }

    /// Whether `--root` names one.
    pub fn has_named_root(&self) -> bool {
        self.root.is_some()
    }

    /// The chosen systems: all of them, or the one that `--root` names.
    pub fn chosen_roots(&self) -> Result<Vec<Root>, Failure> {
        match &self.root {
            Some(_) => Ok(vec![self.root()?]),
            None => Ok(self.survey.roots.clone()),
        }
    }

    /// Mounts the chosen root, and what its fstab lists, at [`ROOT`]. Returns the mount points whose
    /// filesystems are missing, after a warning for each.
    pub async fn enter(&self, read_only: bool, for_commands: bool) -> Result<Vec<String>, Failure> {
        let root = self.root()?;
        let session = &self.session;
        let mounting = session.mount(&root.mounts, ROOT, read_only, for_commands);
        let failed = mounting.await?;
        self.phases.mark_first("mounted");
        let is_told = |warning: &&Warning| {
            let mut failed = failed.iter();
            // What is degraded is readable.
            warning.code == WarningCode::Degraded
                || failed.any(|mount| warning.device.as_ref() == Some(&mount.source))
        };
        for warning in self.warnings_about(&root).filter(|one| !is_told(one)) {
            self.warn(format_args!("{warning}"));
        }
        let skipped = root.left_out.iter().filter(|skipped| skipped.missing);
        let mut missing = Vec::new();
        for mount in failed.iter().chain(skipped) {
            self.warn(format_args!("not mounted: {mount}"));
            if mount.missing {
                missing.push(mount.target.clone());
            }
        }
        Ok(missing)
    }

    /// Mounts the filesystem on `device` at [`ROOT`], and nothing else.
    pub async fn enter_device(&self, device: &str) -> Result<(), Failure> {
        let all = filesystems(&self.survey);
        let same = same(&self.survey);
        let device = same.get(device).copied().unwrap_or(device);
        let Some(found) = all.iter().find(|found| found.device == device) else {
            return Err(roots::no_filesystem(device, &all));
        };
        let root = Root::alone(found.device, found.content.kind);
        self.session.mount(&root.mounts, ROOT, true, false).await?;
        self.phases.mark_first("mounted");
        for warning in self.warnings_about(&root) {
            self.warn(format_args!("{warning}"));
        }
        Ok(())
    }

    fn warn(&self, warning: fmt::Arguments<'_>) {
        match self.warns {
            true => tracing::warn!("{warning}"),
            false => tracing::debug!("{warning}"),
        }
    }

    /// The survey's warnings about what `root` is on, and about what else may be a root unless it was
    /// named; about everything if it was taken only for want of a system.
    pub fn warnings_about<'a>(&'a self, root: &'a Root) -> impl Iterator<Item = &'a Warning> {
        let survey = &self.survey;
        let is_guess = survey.roots.is_empty() && self.root.is_none();
        let is_of_root = |device: &String| {
            let mut mounts = root.mounts.iter();
            mounts.any(|mount| {
                let mut pools = survey.pools.iter();
                let pool = pools.find(|pool| pool.first() == Some(&mount.source));
                mount.source == *device || pool.is_some_and(|pool| pool.contains(device))
            })
        };
        survey.warnings.iter().filter(move |warning| {
            warning.code == WarningCode::Hibernated
                || warning.code == WarningCode::NotMounted && self.root.is_none()
                || warning.device.as_ref().is_some_and(is_of_root)
                || is_guess && warning.code.is_incomplete()
        })
    }

    /// Whether a failure is about one file, so that the others are read all the same. A read error
    /// of an image in use is not: the image is then read again.
    pub fn is_of_a_file(&self, failure: &Failure) -> bool {
        let refused = matches!(
            failure.error.downcast_ref::<SessionError>(),
            Some(SessionError::Refused(_))
        );
        refused && !(self.in_use && is_torn(failure))
    }
}

/// Whether files at `path` are on a filesystem that is missing: one that would be mounted at or
/// above it, or below it if what is below is wanted too.
pub(crate) fn lacks(missing: &[String], path: &[u8], recursive: bool) -> bool {
    let path = Path::new(OsStr::from_bytes(path));
    let path = Path::new("/").join(path.strip_prefix("/").unwrap_or(path));
    missing
        .iter()
        .any(|target| path.starts_with(target) || recursive && Path::new(target).starts_with(&path))
}

/// Whether an image that changed while it was read would explain a failure.
pub(super) fn is_torn(failure: &Failure) -> bool {
    match failure.error.downcast_ref::<SessionError>() {
        Some(SessionError::Refused(error)) => is_torn_read(error),
        _ => false,
    }
}

/// [`is_torn`] for an error that the agent reports.
pub(crate) fn is_torn_read(error: &RemoteError) -> bool {
    let torn = [Errno::EIO, Errno::EUCLEAN, Errno::EBADMSG].map(|errno| Some(errno as i32));
    error.step == ErrorStage::Disk || torn.contains(&error.errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_missing_at_and_below_a_mount_and_above_it_where_all_is_wanted() {
        let missing = ["/var/log".to_owned()];
        let lacks = |path: &str, recursive| lacks(&missing, path.as_bytes(), recursive);
        for path in ["/var/log", "/var/log/", "/var/log/a/b", "var/log/a"] {
            assert!(lacks(path, false), "{path}");
        }
        for path in ["/", "/var", "/var/"] {
            assert!(!lacks(path, false) && lacks(path, true), "{path}");
        }
        for path in ["/var/logs", "/var/lib", "/log"] {
            assert!(!lacks(path, true), "{path}");
        }
    }
}
