//! The appliance with an image's disk, its overlay, and all that may end it.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::report::{Journal, LookFacts};
use super::{Inside, Options};
use crate::commands::report::{AcceleratorFacts, LayerFacts};
use crate::commands::watch::Watch;
use crate::commands::{Failure, Voice, accelerator, drives, verdict};
use crate::exit::Status;
use crate::guest::boot::{Appliance, Settings};
use crate::guest::session::Session;
use crate::host::{kernel, qemu};
use crate::image::chain::{self, Request};
use crate::machine::Machine;
use crate::machine::drives::Drives;
use crate::machine::end::End;
use crate::template::appliance::{self as template, Started};
use crate::template::restore::Template;

/// How long a machine's end may follow that of its agent.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// An appliance that has an image's disk.
#[derive(Debug)]
pub struct Camp {
    /// The appliance's machine.
    pub machine: Machine,
    /// The conversation with its agent.
    pub session: Session,
    /// What may cut the work short.
    pub watch: Watch,
    drives: Drives,
    max_write: Option<u64>,
    facts: LookFacts,
    /// None where no report is wanted.
    journal: Option<Journal>,
    /// Not removed while it is in use.
    template: Option<Template>,
}

impl Camp {
    /// Opens the image and boots the appliance with it.
    ///
    /// # Errors
    /// Bad images, no QEMU, no kernel, no room, and whatever ends a machine.
    pub async fn pitch(
        options: &Options,
        image: &Path,
        voice: &dyn Voice,
    ) -> Result<Self, Failure> {
        let mut watch = Watch::new(options.timeout)?;
        let qemu = qemu::find(options.appliance.qemu.as_deref())?;
        let mut drives = Drives::new(drives::place(&options.overlay)?);
        let request = Request {
            image: image.to_owned(),
            format: options.format,
            backing: options.backing.clone(),
        };
        let chain = match options.again {
            true => chain::resolve(&request)?,
            false => drives::resolve(&request)?,
        };
        let disk = drives.disk("disk0", chain, None)?;
        let phases = options.journal.phases();
        phases.mark("image");
        let chosen = accelerator::choose(options.appliance.accel)?;
        phases.mark("kvm-check");
        let settings = Settings {
            qemu,
            accelerator: chosen.accelerator,
            memory_mib: options.appliance.memory,
            cpus: options.appliance.cpus,
            kernel: kernel::find(options.appliance.kernel.as_deref())?,
            phases: phases.clone(),
        };
        let mut facts = LookFacts {
            image: image.to_owned(),
            accelerator: AcceleratorFacts {
                asked: options.appliance.accel.as_str(),
                kvm: chosen.kvm,
                used: None,
            },
            qemu: settings.qemu.clone(),
            qemu_version: None,
            template: None,
            phases,
            overlays: Vec::new(),
            layers: LayerFacts::before(drives.chains()),
        };
        let max_write = options.overlay.max_write;
        voice.status(&format!("looking into {}", image.display()));
        let most = options.template.templates_max;
        let (cold, disks) = (options.template.no_template, vec![disk]);
        let starting = template::start(cold, &settings, most, &drives, disks, max_write);
        let started = watch.before(starting).await;
        voice.clear_status();
        let Started {
            appliance:
                Appliance {
                    mut machine,
                    session,
                },
            template,
        } = match started {
            Ok(started) => started?,
            Err(end) => return Err(verdict::failure(&end, &[], &drives, max_write)),
        };
        facts.template = template.as_ref().and_then(Template::directory);
        if options.report.is_some() {
            facts.qemu_version = Some(machine.version().to_string());
            let uses_kvm = machine.uses_kvm().await?;
            facts.accelerator.used = Some(if uses_kvm { "kvm" } else { "tcg" });
        }
        Ok(Self {
            journal: options.report.as_ref().map(|_| options.journal.clone()),
            facts,
            machine,
            session,
            watch,
            drives,
            max_write,
            template,
        })
    }

    /// Looks at the disk, and gives what the work of a command sees.
    ///
    /// # Errors
    /// What cuts the work short.
    pub async fn inside(&mut self, options: &Options) -> Result<Inside, Failure> {
        let session = self.session.clone();
        let disks = self.drives.overlays().len();
        let booted = self.template.is_none();
        let looking = async {
            // Certificates and file times; an appliance that may not is none of ours.
            if booted {
                session.set_clock().await?;
                session.add_entropy().await?;
            }
            Ok(session.survey(disks).await?)
        };
        let survey = self.work(looking).await?;
        self.facts.phases.mark("survey");
        for remark in &survey.warnings {
            tracing::debug!("{remark}");
        }
        Ok(Inside {
            session,
            survey,
            in_use: self.in_use(),
            phases: self.facts.phases.clone(),
            wanted: options.root.clone(),
        })
    }

    /// Whether another process writes to the image.
    pub fn in_use(&self) -> bool {
        let mut layers = self.drives.chains().iter().flat_map(|chain| chain.layers());
        layers.any(|layer| layer.in_use())
    }

    /// Does some work with the appliance, unless that is cut short.
    ///
    /// # Errors
    /// The work's own, or what cut it short.
    pub async fn work<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match self.watch.during(&mut self.machine, work).await? {
            Ok(Ok(done)) => Ok(done),
            // The machine's own end says more than that its agent does not answer any more.
            Ok(Err(failure)) if failure.status == Status::GuestCrashed => {
                let ended = std::future::pending::<()>();
                let ended = self.watch.during(&mut self.machine, ended);
                match tokio::time::timeout(LAST_WORDS, ended).await {
                    Ok(Ok(Err(end))) => Err(self.cut_short(&end)),
                    _ => Err(failure),
                }
            }
            Ok(Err(failure)) => Err(failure),
            Err(end) => Err(self.cut_short(&end)),
        }
    }

    /// What there is to say of an end that nobody asked for.
    pub fn cut_short(&self, end: &End) -> Failure {
        let tail = self.machine.console_tail();
        verdict::failure(end, &tail, &self.drives, self.max_write)
    }

    /// Ends the appliance at once: nothing in it is to be kept.
    ///
    /// # Errors
    /// QEMU cannot be reaped.
    pub async fn strike(mut self) -> Result<(), Failure> {
        let stopped = self.machine.stop(Duration::ZERO).await;
        self.facts.phases.mark("ended");
        if let Some(journal) = &self.journal {
            self.facts.after(&self.drives);
            journal.add(self.facts);
        }
        Ok(stopped.context("ending QEMU")?)
    }
}
