//! What is said of a run: the message for people, and the verdict as JSON for programs.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::Finished;
use super::assemble::Assembled;
use super::options::Args;
use super::written;
use crate::commands::{Failure, verdict};
use crate::exit::Status;
use crate::image::Format;
use crate::image::chain::Chain;
use crate::image::opened::Identity;
use crate::machine::end::End;

/// What is learnt in the course of a run.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// The accelerator: asked for, found, used.
    pub accelerator: AcceleratorFacts,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
    /// QEMU's version, from its greeting.
    pub qemu_version: Option<String>,
    /// With `--warm`: `restored` from the store, or `built` by this run; null otherwise.
    pub template: Option<&'static str>,
    /// When each phase was over.
    pub phases: Phases,
    /// The status of the command in the guest, once it has ended.
    pub command: Option<u8>,
    /// One entry per overlay.
    pub overlays: Vec<OverlayFacts>,
    /// Every layer of every image, top first.
    pub layers: Vec<LayerFacts>,
}

/// The accelerator of a run.
#[derive(Debug, Default, Serialize)]
pub struct AcceleratorFacts {
    /// What was asked for.
    pub asked: &'static str,
    /// What the KVM check found; null where it was not made.
    pub kvm: Option<&'static str>,
    /// What QEMU says it uses.
    pub used: Option<&'static str>,
}

/// What was written to one disk.
#[derive(Debug, Serialize)]
pub struct OverlayFacts {
    /// The disk's node name.
    pub disk: String,
    /// Bytes that the overlay took at the end.
    pub bytes: u64,
}

/// One layer's identity, before and after the run.
#[derive(Debug, Serialize)]
pub struct LayerFacts {
    path: PathBuf,
    format: Format,
    before: Identity,
    after: Option<Identity>,
    unchanged: Option<bool>,
    in_use: bool,
}

/// Moments of a run, in milliseconds since its start.
#[derive(Debug)]
pub struct Phases {
    started: Instant,
    marks: Vec<(&'static str, Duration)>,
}

impl Phases {
    /// `phase` is over now.
    pub fn mark(&mut self, phase: &'static str) {
        let elapsed = self.started.elapsed();
        tracing::debug!("{phase} after {:.1} ms", elapsed.as_secs_f64() * 1e3);
        self.marks.retain(|(earlier, _)| *earlier != phase);
        self.marks.push((phase, elapsed));
    }
}

impl Serialize for Phases {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.marks
                .iter()
                .map(|(phase, elapsed)| (phase, (elapsed.as_secs_f64() * 1e6).round() / 1e3)),
        )
    }
}

impl Facts {
    /// Takes down the layers of `chains` as they are now.
    pub fn layers_before(&mut self, chains: &[Chain]) {
        self.layers = chains
            .iter()
            .flat_map(Chain::layers)
            .map(|layer| LayerFacts {
                path: layer.path().to_owned(),
                format: layer.format(),
                before: layer.identity(),
                after: None,
                unchanged: None,
                in_use: layer.in_use(),
            })
            .collect();
    }

    /// Compares the layers with what they were, and measures the overlays.
    pub fn after(&mut self, assembled: &Assembled) {
        let layers = assembled.drives.chains().iter().flat_map(Chain::layers);
        for (facts, layer) in self.layers.iter_mut().zip(layers) {
            facts.after = layer.identity_now().ok();
            facts.unchanged = facts.after.as_ref().map(|after| *after == facts.before);
            if facts.unchanged == Some(false) {
                tracing::warn!(
                    "{} was changed by another process during the run",
                    layer.path().display()
                );
            }
        }
        self.overlays = assembled
            .drives
            .overlays()
            .iter()
            .map(|overlay| OverlayFacts {
                disk: overlay.name().to_owned(),
                bytes: overlay.allocated().unwrap_or(0),
            })
            .collect();
    }
}

/// The report of a run, and the file that it goes to.
#[derive(Debug)]
pub struct Report {
    file: Option<File>,
    /// The file keeps what is written, and can be written anew; a pipe gets the end alone.
    replaceable: bool,
    image: Option<PathBuf>,
    /// What is learnt on the way.
    pub facts: Facts,
}

#[derive(Serialize)]
struct Document<'a> {
    bivouac: &'static str,
    image: Option<&'a PathBuf>,
    verdict: Verdict<'a>,
    #[serde(flatten)]
    facts: &'a Facts,
}

#[derive(Serialize)]
struct Verdict<'a> {
    status: u8,
    end: &'static str,
    message: Option<String>,
    /// The guest's last lines on the serial console, without control characters.
    console_tail: &'a [String],
}

impl Report {
    /// Opens the report's file, so that a path that cannot be written fails at once. Until
    /// the run has ended it says that it has not.
    pub fn open(args: &Args, started: Instant) -> Result<Self, Failure> {
        let path = args.conduct.report.as_deref();
        let file = path.map(written::report).transpose()?;
        let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        let mut report = Self {
            replaceable: file.as_ref().is_some_and(is_regular),
            file,
            image: args.image.clone(),
            facts: Facts {
                accelerator: AcceleratorFacts::default(),
                qemu: None,
                qemu_version: None,
                template: None,
                phases: Phases {
                    started,
                    marks: Vec::new(),
                },
                command: None,
                overlays: Vec::new(),
                layers: Vec::new(),
            },
        };
        if report.replaceable {
            report.write(Verdict {
                status: Status::Failed.code(),
                end: "unfinished",
                message: None,
                console_tail: &[],
            })?;
        }
        Ok(report)
    }

    /// Writes the verdict.
    pub fn close(&mut self, outcome: &Result<Finished, Failure>) -> Result<(), Failure> {
        self.write(match outcome {
            Ok(finished @ Finished::Planned(_)) => Verdict {
                status: finished.status().code(),
                end: "planned",
                message: None,
                console_tail: &[],
            },
            Ok(
                finished @ Finished::Ran {
                    end, message, tail, ..
                },
            ) => Verdict {
                status: finished.status().code(),
                end: end.word(),
                message: message.clone(),
                console_tail: tail,
            },
            Ok(finished @ Finished::Commanded { .. }) => Verdict {
                status: finished.status().code(),
                end: "command",
                message: None,
                console_tail: &[],
            },
            Err(failure) => Verdict {
                status: failure.status.code(),
                // One that was not found in the guest has ended, too.
                end: match self.facts.command {
                    Some(_) => "command",
                    None => "failed",
                },
                message: Some(format!("{:#}", failure.error)),
                console_tail: &[],
            },
        })
    }

    fn write(&mut self, verdict: Verdict<'_>) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let document = Document {
            bivouac: env!("CARGO_PKG_VERSION"),
            image: self.image.as_ref(),
            verdict,
            facts: &self.facts,
        };
        let mut text = serde_json::to_vec_pretty(&document).context("writing the report")?;
        text.push(b'\n');
        if self.replaceable {
            // Over the earlier one.
            file.rewind()
                .and_then(|()| file.set_len(0))
                .context("writing the report")?;
        }
        file.write_all(&text).context("writing the report")?;
        Ok(())
    }
}

/// What there is to say about `end`: nothing where all went well.
pub fn finished(end: End, tail: Vec<String>, assembled: &Assembled) -> Finished {
    let (message, mend) = verdict::said(&end, &tail, &assembled.drives, assembled.max_write);
    Finished::Ran {
        status: end.status(),
        end,
        message,
        mend,
        tail,
    }
}
