//! An appliance with the disks of one machine, and the session with its agent.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;

use super::appliance;
use super::facts::{AcceleratorFacts, ImageFacts, LayerFacts, OverlayFacts};
use super::failure::Failure;
use super::kept_image::{self, KeptImage, Mounted};
use super::keys::{self, Keys};
use super::progress::Progress;
use super::spec::{ApplianceSpec, DiskSpec, OverlaySpec, TemplateSpec};
use super::start::RunningVm;
use super::supervisor::{Interrupted, Supervisor};
use super::unpack::Images;
use super::{images, outcome, prepare};
use crate::appliance::boot::{ApplianceConfig, Storage};
use crate::exit::Status;
use crate::host::{kernel, qemu};
use crate::image::chain::Request;
use crate::machine::Machine;
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::plan::{Accelerator, Disk};
use crate::protocol::PathAt;
use crate::protocol::disks::Survey;
use crate::session::{ReadMemory, Seen, Session, SessionError};
use crate::template::restore::Template;

/// An image, the other disks of its machine, and the appliance in which it is inspected.
#[derive(Debug)]
pub(crate) struct InspectionSpec {
    pub image: Request,
    /// The other disks of its machine.
    pub disks: Vec<DiskSpec>,
    /// Of encrypted volumes.
    pub keys: Keys,
    /// For each disk, the overlays that lie on its image, the lowest first, by paths of open files.
    pub overlays: Vec<Vec<PathBuf>>,
    /// Prints warnings about the images.
    pub warns: bool,
    pub appliance: ApplianceSpec,
    pub overlay: OverlaySpec,
    pub template: TemplateSpec,
    /// Whether the appliance is restored with the image in it, and what is mounted there then.
    pub kept: Option<Mounted>,
    pub timeout: Option<Duration>,
    /// Whether `timeout` was not asked for.
    pub is_default_timeout: bool,
    pub phases: Phases,
    /// Asks QEMU for its facts and measures the overlays, for a report.
    pub wants_facts: bool,
}

/// How long an agent may not answer.
const SILENCE: Duration = Duration::from_secs(60);
const STEPS: u32 = 12;

#[derive(Debug)]
pub(crate) struct ApplianceSession {
    pub machine: Machine,
    pub session: Session,
    pub supervisor: Supervisor,
    /// Whether to print warnings about the images.
    pub warns: bool,
    drives: Drives,
    max_write: Option<u64>,
    keys: Keys,
    facts: ImageFacts,
    wants_facts: bool,
    is_default_timeout: bool,
    /// Whether it was restored with the image in it.
    is_kept: bool,
    /// Not removed while it is in use.
    template: Option<Template>,
}

/// Opens the images of all disks, each with an overlay of its own.
async fn open_disks(
    spec: &InspectionSpec,
    drives: &mut Drives,
    progress: &dyn Progress,
) -> Result<Vec<Disk>, Failure> {
    let images = Images {
        image: Some(spec.image.clone()),
        disks: spec.disks.clone(),
        overlay: &spec.overlay,
        sandbox: &spec.appliance.sandbox,
    };
    let (image, others) = images.unpacked(progress).await?;
    let others = others.iter();
    let others = others.map(|disk| (disk.request(), disk.serial.clone()));
    let all = image.map(|image| (image, None)).into_iter().chain(others);
    let opened = all.enumerate().map(|(index, (request, serial))| {
        let mut chain = images::open(&request, spec.warns)?;
        for overlay in spec.overlays.get(index).into_iter().flatten() {
            chain.put_on_top(overlay)?;
        }
        Ok(drives.disk(&format!("disk{index}"), chain, serial)?)
    });
    opened.collect()
}

/// Starts the appliance. Whether it was restored with the image in it.
async fn start(
    spec: &InspectionSpec,
    config: &ApplianceConfig,
    drives: &mut Drives,
    mut disks: Vec<Disk>,
    progress: &dyn Progress,
) -> Result<(RunningVm, bool), Failure> {
    let (template, max_write) = (&spec.template, spec.overlay.max_write);
    if let Some(mounted) = spec.kept {
        let image = KeptImage {
            config,
            template,
            max_write,
            mounted,
        };
        if let Some(why) = kept_image::why_ineligible(drives) {
            tracing::warn!("no template can be made: {why}; the image is looked at again");
        } else {
            match image.start(drives, disks).await {
                Ok(vm) => return Ok((vm, true)),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!("{error:#}; the image is looked at again");
                }
            }
            // They were written to, and overlays of the template may be among their layers.
            *drives = Drives::new(prepare::place(&spec.overlay)?);
            disks = open_disks(spec, drives, progress).await?;
        }
    }
    let storage = Storage {
        drives,
        disks,
        max_write,
    };
    let vm = appliance::start(config, template, &storage).await?;
    Ok((vm, false))
}

/// Names the option, if a time-out ran out that nobody asked for.
pub(crate) fn explain_default(mut failure: Failure, is_default: bool) -> Failure {
    if is_default && failure.status == Status::TimedOut {
        failure.hint =
            Some("--timeout TIME for another limit, 0 for none; it is 10m by default".into());
    }
    failure
}

/// Waits until the agent has not answered for [`SILENCE`], though it never waits long for a disk.
async fn silence(session: &Session) -> SessionError {
    loop {
        tokio::time::sleep(SILENCE / 3).await;
        let mut answer = pin!(session.stat(PathAt::new("/", b"/"), false));
        // In steps, because a time in which we are stopped counts only once.
        let mut steps = 0;
        while tokio::time::timeout(SILENCE / STEPS, &mut answer)
            .await
            .is_err()
        {
            steps += 1;
            if steps == STEPS {
                return SessionError::Silent {
                    deadline: SILENCE,
                    seen: Seen::default(),
                };
            }
        }
    }
}

/// The session, which can read the machine's memory if that is a file.
fn with_memory(session: Session, machine: &Machine) -> Session {
    let Some(memory) = machine.guest_memory() else {
        return session;
    };
    session.with_memory(move || {
        let memory = memory()?;
        let read: Box<ReadMemory> = Box::new(move |at, bytes| memory.read(at, bytes));
        Ok(read)
    })
}

impl ApplianceSession {
    /// Opens the images and starts an appliance with it. `accelerator` chooses one, and says why.
    pub async fn open(
        spec: InspectionSpec,
        accelerator: impl FnOnce() -> Result<(Accelerator, AcceleratorFacts), Failure>,
        progress: &dyn Progress,
    ) -> Result<Self, Failure> {
        let mut supervisor = Supervisor::new(spec.timeout)?;
        let qemu = qemu::find(spec.appliance.qemu.as_deref())?;
        let place = prepare::place(&spec.overlay)?;
        let mut drives = Drives::new(place);
        let opening = supervisor
            .guard(open_disks(&spec, &mut drives, progress))
            .await;
        let disks = match opening {
            Ok(disks) => disks?,
            Err(stopped) => return Err(explain_default(stopped.into(), spec.is_default_timeout)),
        };
        let phases = spec.phases.clone();
        phases.mark("image");
        let (accelerator, accelerator_facts) = accelerator()?;
        phases.mark("kvm-check");
        let config = ApplianceConfig {
            qemu,
            accelerator,
            memory_mib: spec.appliance.memory_mib,
            cpus: spec.appliance.cpus,
            kernel: kernel::find(spec.appliance.kernel.as_deref())?,
            sandbox: spec.appliance.sandbox.clone(),
            phases: phases.clone(),
        };
        let mut facts = ImageFacts {
            image: spec.image.image.clone(),
            accelerator: accelerator_facts,
            qemu: config.qemu.clone(),
            qemu_version: None,
            sandbox: None,
            template: None,
            phases,
            overlays: Vec::new(),
            layers: Vec::new(),
        };
        progress.status(&format!("opening {}", facts.image.display()));
        let started = supervisor
            .guard(start(&spec, &config, &mut drives, disks, progress))
            .await;
        progress.clear_status();
        let (vm, is_kept) = match started {
            Ok(started) => started?,
            Err(stopped) => return Err(explain_default(stopped.into(), spec.is_default_timeout)),
        };
        let RunningVm {
            mut machine,
            session,
            template,
            ..
        } = vm;
        facts.layers = LayerFacts::of(drives.chains());
        if spec.wants_facts {
            let directory = template.as_ref().and_then(Template::directory);
            facts.template = directory.map(PathBuf::from);
            facts.qemu_version = Some(machine.version().to_string());
            facts.sandbox = Some(machine.sandbox().clone());
            facts.accelerator.record_used(&mut machine).await?;
        }
        Ok(Self {
            session: with_memory(session, &machine),
            machine,
            supervisor,
            warns: spec.warns,
            drives,
            max_write: spec.overlay.max_write,
            keys: spec.keys,
            facts,
            wants_facts: spec.wants_facts,
            is_default_timeout: spec.is_default_timeout,
            is_kept,
            template,
        })
    }

    pub async fn survey(&mut self) -> Result<Survey, Failure> {
        let session = self.session.clone();
        let disks = self.drives.overlays().len();
        let was_booted = self.template.is_none();
        let keys = self.keys.clone();
        let is_kept = self.is_kept;
        let survey = self.work(async {
            // Needed for certificates and file times.
            if was_booted {
                session.set_clock().await?;
                session.add_entropy().await?;
            }
            Ok(match is_kept {
                true => session.kept_survey(disks).await?,
                false => keys::survey(&session, disks, &keys).await?,
            })
        });
        let survey = survey.await?;
        self.facts.phases.mark("survey");
        for warning in &survey.warnings {
            tracing::debug!("{warning}");
        }
        Ok(survey)
    }

    /// Whether another process writes to one of the images.
    pub fn in_use(&self) -> bool {
        let mut layers = self.drives.chains().iter().flat_map(|chain| chain.layers());
        layers.any(|layer| layer.in_use())
    }

    /// Whether both have a layer in common: what is equal in both was so from the start.
    pub fn is_related(&self, other: &Self) -> bool {
        let layers = |session: &'_ Self| {
            let layers = session
                .drives
                .chains()
                .iter()
                .flat_map(|chain| chain.layers());
            layers.map(|layer| layer.identity()).collect::<Vec<_>>()
        };
        let others = layers(other);
        let mut own = layers(self).into_iter();
        own.any(|own| others.iter().any(|layer| layer.same_file(&own)))
    }

    pub fn phases(&self) -> Phases {
        self.facts.phases.clone()
    }

    pub async fn work<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let session = self.session.clone();
        let work = async {
            tokio::select! {
                biased;
                done = work => done,
                error = silence(&session) => Err(error.into()),
            }
        };
        let done = self.supervisor.converse(&mut self.machine, work).await;
        done.map_err(|interrupted| self.failed(interrupted))
    }

    pub fn failed(&self, interrupted: Interrupted) -> Failure {
        let failure = interrupted
            .into_failure(|end, tail| outcome::failure(end, tail, &self.drives, self.max_write));
        explain_default(failure, self.is_default_timeout)
    }

    /// Ends the appliance at once: nothing in it is kept. Returns what was learnt.
    pub async fn close(mut self) -> (ImageFacts, Result<(), Failure>) {
        let stopped = self.machine.stop(Duration::ZERO).await;
        self.facts.phases.mark("ended");
        if self.wants_facts {
            LayerFacts::record_end(&mut self.facts.layers, self.drives.chains());
            self.facts.overlays = OverlayFacts::of(&self.drives);
        }
        (
            self.facts,
            stopped.context("ending QEMU").map_err(Failure::from),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::supervisor::Stopped;
    use crate::machine::end::End;

    #[test]
    fn a_time_out_that_nobody_asked_for_names_its_option() {
        let (option, length) = ("--timeout", Duration::from_secs(600));
        let failure = || Failure::from(Stopped(End::TimedOut { option, length }));
        assert_eq!(explain_default(failure(), false).hint, None);
        let hint = explain_default(failure(), true).hint.unwrap();
        assert!(hint.starts_with("--timeout TIME"), "{hint}");
        let signal = Failure::from(Stopped(End::Signalled(15)));
        assert_eq!(explain_default(signal, true).hint, None);
    }
}
