//! Opens images in appliances.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;

use super::keys;
use super::mounted_image::{MountedImage, is_torn, lacks};
use super::report::ReportCollector;
use super::roots::default_mounts;
use crate::commands::args::image::InspectionArgs;
use crate::commands::image_path::{ImagePath, by_image};
use crate::commands::stdout_sink::StdoutSink;
use crate::exit::Status;
use crate::launch::appliance_session::{ApplianceSession, InspectionSpec};
use crate::launch::facts::{AcceleratorFacts, ImageFacts};
use crate::launch::keys::Keys;
use crate::launch::spec::OverlaySpec;
use crate::launch::{Failure, Progress, accelerator};
use crate::machine::plan::Accelerator;

/// How often an operation is tried on an image that another process writes to.
const TRIES: usize = 4;

pub struct Inspector<'a> {
    args: &'a InspectionArgs,
    pub(crate) progress: &'a dyn Progress,
    collector: &'a ReportCollector,
    /// How long each inspection may take.
    pub(crate) timeout: Option<Duration>,
    overlay: OverlaySpec,
    /// Read once.
    keys: Keys,
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
        is_limited: bool,
    ) -> Result<Self, Failure> {
        let (timeout, overlay) = args.limits(is_limited);
        Ok(Self {
            args,
            progress,
            collector,
            timeout,
            overlay,
            keys: keys::keys(&args.keys)?,
            accelerator: OnceCell::new(),
            warned: RefCell::default(),
        })
    }

    pub(crate) fn accelerator(&self) -> Result<(Accelerator, AcceleratorFacts), Failure> {
        if let Some(chosen) = self.accelerator.get() {
            return Ok(chosen.clone());
        }
        let mut facts = AcceleratorFacts::default();
        let asked = self.args.appliance.spec().accelerator;
        let chosen = accelerator::choose(asked, &mut facts)?;
        Ok(self.accelerator.get_or_init(|| (chosen, facts)).clone())
    }

    pub(crate) async fn open(&self, image: &Path) -> Result<ApplianceSession, Failure> {
        let spec = self.spec(image);
        ApplianceSession::open(spec, || self.accelerator(), self.progress).await
    }

    /// What is to be opened for `image`.
    pub(crate) fn spec(&self, image: &Path) -> InspectionSpec {
        InspectionSpec {
            image: self.args.image(image),
            disks: self.args.disks(),
            keys: self.keys.clone(),
            overlays: Vec::new(),
            warns: self.warned.borrow_mut().insert(image.to_owned()),
            appliance: self.args.appliance.spec(),
            overlay: self.overlay.clone(),
            template: self.args.template.spec(),
            kept: self.args.warm.then_some(default_mounts),
            timeout: self.timeout,
            is_default_timeout: !self.args.has_timeout(),
            phases: self.collector.phases(),
            wants_facts: self.args.report.is_some(),
        }
    }

    /// What `--root` names.
    pub(crate) fn root(&self) -> Option<&str> {
        self.args.root.as_deref()
    }

    pub(crate) async fn survey(
        &self,
        appliance: &mut ApplianceSession,
    ) -> Result<MountedImage, Failure> {
        MountedImage::survey(appliance, self.args.root.clone()).await
    }

    /// Ends the appliance, and adds what was learnt to the report.
    pub(crate) async fn close(&self, appliance: ApplianceSession) -> Result<(), Failure> {
        let (facts, closed) = appliance.close().await;
        self.add(facts);
        closed
    }

    /// Adds what was learnt of an image to the report.
    pub(crate) fn add(&self, facts: ImageFacts) {
        if self.args.report.is_some() {
            self.collector.add(facts);
        }
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
