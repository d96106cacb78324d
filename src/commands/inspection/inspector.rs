//! Opens images in appliances.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::Mutex;

use super::report::ReportCollector;
use super::roots;
use crate::appliance::boot::ROOT;
use crate::commands::args::image::InspectionArgs;
use crate::commands::image_path::{ImagePath, by_image};
use crate::commands::stdout_sink::StdoutSink;
use crate::exit::Status;
use crate::launch::appliance_session::{ApplianceSession, InspectionSpec};
use crate::launch::facts::AcceleratorFacts;
use crate::launch::{Failure, Progress, accelerator};
use crate::machine::phases::Phases;
use crate::machine::plan::Accelerator;
use crate::protocol::disks::{Root, Survey};
use crate::protocol::warning::{Warning, WarningCode};
use crate::protocol::{ErrorStage, RemoteError};
use crate::session::{Session, SessionError};

/// How often an operation is tried on an image that another process writes to.
const TRIES: usize = 4;

pub struct Inspector<'a> {
    args: &'a InspectionArgs,
    pub(crate) progress: &'a dyn Progress,
    collector: &'a ReportCollector,
    /// How long each inspection may take.
    pub(crate) timeout: Option<Duration>,
    /// Chosen once, so that warnings are printed once.
    accelerator: OnceCell<(Accelerator, AcceleratorFacts)>,
    /// The images about whose layers warnings were printed.
    warned: RefCell<HashSet<PathBuf>>,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(
        args: &'a InspectionArgs,
        progress: &'a dyn Progress,
        collector: &'a ReportCollector,
    ) -> Self {
        Self {
            args,
            progress,
            collector,
            timeout: args.timeout,
            accelerator: OnceCell::new(),
            warned: RefCell::default(),
        }
    }

    fn accelerator(&self) -> Result<(Accelerator, AcceleratorFacts), Failure> {
        if let Some(chosen) = self.accelerator.get() {
            return Ok(chosen.clone());
        }
        let mut facts = AcceleratorFacts::default();
        let asked = self.args.appliance.spec().accelerator;
        let chosen = accelerator::choose(asked, &mut facts)?;
        Ok(self.accelerator.get_or_init(|| (chosen, facts)).clone())
    }

    pub(crate) async fn open(&self, image: &Path) -> Result<ApplianceSession, Failure> {
        let spec = InspectionSpec {
            image: self.args.image(image),
            disks: self.args.disks().to_vec(),
            warns: self.warned.borrow_mut().insert(image.to_owned()),
            appliance: self.args.appliance.spec(),
            overlay: self.args.overlay.spec(),
            template: self.args.template.spec(),
            timeout: self.timeout,
            phases: self.collector.phases(),
            wants_facts: self.args.report.is_some(),
        };
        ApplianceSession::open(spec, || self.accelerator(), self.progress).await
    }

    pub(crate) async fn survey(
        &self,
        appliance: &mut ApplianceSession,
    ) -> Result<MountedImage, Failure> {
        Ok(MountedImage {
            survey: appliance.survey().await?,
            session: appliance.session.clone(),
            in_use: appliance.in_use(),
            warns: appliance.warns,
            phases: appliance.phases(),
            root: self.args.root.clone(),
        })
    }

    /// Ends the appliance, and adds what was learnt to the report.
    pub(crate) async fn close(&self, appliance: ApplianceSession) -> Result<(), Failure> {
        let (facts, closed) = appliance.close().await;
        if self.args.report.is_some() {
            self.collector.add(facts);
        }
        closed
    }

    /// Opens `image` in an appliance, does `work` there, and ends the appliance. If another process
    /// writes to the image and reading it fails for that, all of it is done again over a fresh
    /// overlay; so the work must not let out any result before it has all of them.
    pub(crate) async fn with_image<T>(
        &self,
        image: &Path,
        work: impl AsyncFn(&MountedImage) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tries = 1;
        loop {
            let mut appliance = self.open(image).await?;
            let mounted = self.survey(&mut appliance).await;
            let in_use = appliance.in_use();
            let result = match mounted {
                Ok(mounted) => {
                    let done = appliance.work(work(&mounted)).await;
                    mounted.phases.mark("done");
                    done
                }
                Err(failure) => Err(failure),
            };
            self.close(appliance).await?;
            match result {
                Err(failure) if in_use && tries < TRIES && is_torn(&failure) => {
                    tracing::warn!("{:#}; trying again", failure.error);
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Opens the image of each group of `places`, mounts its root, and does `work` with the number
    /// of the group, its paths, and standard output. `work` says whether all of it could be read,
    /// `recursive` whether it reads what is below the paths too.
    pub(crate) async fn with_roots(
        &self,
        places: Vec<ImagePath>,
        output: &Mutex<StdoutSink>,
        recursive: bool,
        work: impl AsyncFn(
            &MountedImage,
            (usize, &[ImagePath]),
            &mut StdoutSink,
        ) -> Result<bool, Failure>,
    ) -> Result<Status, Failure> {
        self.args
            .check_images(places.iter().map(|place| &place.image))?;
        let mut complete = true;
        for (number, (path, places)) in by_image(places).iter().enumerate() {
            complete &= self
                .with_image(path, async |image| {
                    let mut output = output.lock().await;
                    output.begin(image.in_use)?;
                    output.mark(&image.phases);
                    let missing = image.enter(true, false).await?;
                    let done = work(image, (number, places), &mut output).await?;
                    let lacks = |place: &ImagePath| lacks(&missing, &place.path, recursive);
                    Ok(done && !places.iter().any(lacks))
                })
                .await?;
            output.lock().await.commit().await?;
        }
        match complete {
            true => Ok(Status::Success),
            false => Ok(Status::Negative),
        }
    }
}

/// What the work of a command sees of an image.
#[derive(Debug)]
pub(crate) struct MountedImage {
    pub session: Session,
    pub survey: Survey,
    /// Another process writes to the image.
    pub in_use: bool,
    /// Whether to print warnings: they were printed if the image is opened again.
    warns: bool,
    pub phases: Phases,
    root: Option<String>,
}

impl MountedImage {
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
        for warning in self.warnings_about(&root) {
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

    fn warn(&self, warning: fmt::Arguments<'_>) {
        match self.warns {
            true => tracing::warn!("{warning}"),
            false => tracing::debug!("{warning}"),
        }
    }

    /// The survey's warnings about what `root` is on, or about everything if it was taken only for
    /// want of a system.
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
fn is_torn(failure: &Failure) -> bool {
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
