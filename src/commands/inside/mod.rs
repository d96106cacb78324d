//! What `chroot`, `ls`, `cat`, `cp`, `df` and `inspect` have in common: an image's disk in an
//! appliance, looked at and mounted there, so that hostile filesystems are parsed by a kernel
//! inside a machine.
//!
//! [`options`] is what was typed, [`Camp`] the machine with its disks and all that may end it,
//! [`Inside`] what the work of a command sees of it, [`roots`] which root is meant, and [`report`]
//! what is told of all that.

mod camp;
pub mod options;
pub mod report;
pub mod roots;

use std::future::Future;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;

use super::{Failure, Voice};
use crate::guest::boot::ROOT;
use crate::guest::session::{Session, SessionError};
use crate::guest::wire::disks::{Root, Survey};
use crate::guest::wire::{ErrorStage, RemoteError};
use crate::machine::phases::Phases;
use crate::sys;
pub use camp::Camp;
pub use options::Options;
pub use report::reported;
pub use roots::name_of;

/// How often an operation is tried on an image that somebody else writes to.
const TRIES: usize = 4;

/// What the work of a command sees.
#[derive(Debug)]
pub struct Inside {
    /// The conversation with the appliance's agent.
    pub session: Session,
    /// What is on the image's disk.
    pub survey: Survey,
    /// Another process writes to the image.
    pub in_use: bool,
    /// When each step was over.
    pub phases: Phases,
    wanted: Option<String>,
}

impl Inside {
    /// The root filesystem that is meant: the only one, or the one that `--root` names. Where no
    /// operating system is, the only filesystem is one.
    ///
    /// # Errors
    /// There is none, or several; they are listed then.
    pub fn root(&self) -> Result<Root, Failure> {
        roots::choose(&self.survey, self.wanted.as_deref())
    }

    /// The systems that are meant: all of them, or the one that `--root` names.
    ///
    /// # Errors
    /// What `--root` names is not there.
    pub fn chosen_roots(&self) -> Result<Vec<Root>, Failure> {
        match &self.wanted {
            Some(_) => Ok(vec![self.root()?]),
            None => Ok(self.survey.roots.clone()),
        }
    }

    /// Mounts the root that is meant, and what its fstab says, at [`ROOT`].
    ///
    /// # Errors
    /// As for [`Inside::root`], or it cannot be mounted.
    pub async fn enter(&self, read_only: bool, for_commands: bool) -> Result<Root, Failure> {
        let root = self.root()?;
        let mounted = (self
            .session
            .mount(&root.mounts, ROOT, read_only, for_commands))
        .await;
        let failed = mounted?;
        self.phases.mark_first("mounted");
        for failed in failed {
            tracing::warn!("not mounted: {failed}");
        }
        Ok(root)
    }
}

/// Runs a command's whole work on an event loop of this thread, which must be the main thread.
///
/// # Errors
/// The work's own.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    sys::keep_children_for_waiting().context("setting SIGCHLD back")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A thread may still be waiting for standard input.
    runtime.shutdown_background();
    done
}

/// Opens `image` in an appliance, does `work` there, and ends the appliance. Where somebody else
/// writes to the image and reading it fails for that, all of it is done again over a fresh
/// overlay; so the work must not have told anybody of its results before it has them all.
///
/// # Errors
/// The work's own, or what cut it short.
pub async fn look<T>(
    options: &Options,
    image: &Path,
    voice: &dyn Voice,
    work: impl AsyncFn(&Inside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut tries = 1;
    loop {
        let mut camp = Camp::pitch(options, image, voice).await?;
        let inside = camp.inside(options).await;
        let in_use = camp.in_use();
        let result = match inside {
            Ok(inside) => {
                let done = camp.work(work(&inside)).await;
                inside.phases.mark("done");
                done
            }
            Err(failure) => Err(failure),
        };
        camp.strike().await?;
        match result {
            Err(failure) if in_use && tries < TRIES && is_torn(&failure) => {
                tracing::warn!("{:#}; trying again", failure.error);
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Whether an image that changed while it was read would explain a failure.
fn is_torn(failure: &Failure) -> bool {
    match failure.error.downcast_ref::<SessionError>() {
        Some(SessionError::Refused(error)) => is_torn_read(error),
        _ => false,
    }
}

/// The same of what the agent could not do.
pub fn is_torn_read(error: &RemoteError) -> bool {
    let torn = [Errno::EIO, Errno::EUCLEAN, Errno::EBADMSG].map(|errno| Some(errno as i32));
    error.step == ErrorStage::Disk || torn.contains(&error.errno)
}
