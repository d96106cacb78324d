//! What is learnt of a machine while it is started and runs, in the form of the JSON reports.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::image::chain::Chain;
use crate::image::{Format, Right};
use crate::linux::file_id::FileId;
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::{Machine, StartError};
use crate::sandbox::Enforced;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Facts {
    pub accelerator: AcceleratorFacts,
    pub qemu: Option<PathBuf>,
    /// QEMU's version, from its greeting.
    pub qemu_version: Option<String>,
    /// What confined QEMU; null if it was not started.
    pub sandbox: Option<Enforced>,
    /// For a warm start: `restored` from the store, or `built` by this process; else null.
    pub template: Option<&'static str>,
    /// When each phase was over.
    pub phases: Phases,
    /// The status of the command in the guest, once it has exited.
    pub command: Option<u8>,
    pub overlays: Vec<OverlayFacts>,
    /// Every layer of every image, top first.
    pub layers: Vec<LayerFacts>,
}

impl Facts {
    /// No facts yet; phases count from `started`.
    pub fn since(started: Instant) -> Self {
        Self {
            phases: Phases::since(started),
            ..Self::default()
        }
    }

    /// Compares the layers with what they were, and measures the overlays.
    pub fn record_end(&mut self, drives: &Drives) {
        LayerFacts::record_end(&mut self.layers, drives.chains());
        let changed = |layer: &&LayerFacts| layer.unchanged == Some(false);
        for layer in self.layers.iter().filter(changed) {
            let path = layer.path.display();
            tracing::warn!("{path} was changed by another process during the run");
        }
        self.overlays = OverlayFacts::of(drives);
    }
}

/// One image that was inspected, and the machine that did it.
#[derive(Debug, Serialize)]
pub(crate) struct ImageFacts {
    pub image: PathBuf,
    pub accelerator: AcceleratorFacts,
    pub qemu: PathBuf,
    /// QEMU's version, from its greeting.
    pub qemu_version: Option<String>,
    /// What confined QEMU.
    pub sandbox: Option<Enforced>,
    /// The directory of the template that the appliance was restored from.
    pub template: Option<PathBuf>,
    /// When each step was over, in milliseconds since the start of the command.
    pub phases: Phases,
    pub overlays: Vec<OverlayFacts>,
    /// Every layer of the image, top first.
    pub layers: Vec<LayerFacts>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct AcceleratorFacts {
    pub asked: &'static str,
    /// What the KVM check found; null if it was not made.
    pub kvm: Option<&'static str>,
    /// What QEMU says it uses.
    pub used: Option<&'static str>,
}

impl AcceleratorFacts {
    /// Asks QEMU what it uses. Whether that is KVM.
    pub async fn record_used(&mut self, machine: &mut Machine) -> Result<bool, StartError> {
        let uses_kvm = machine.uses_kvm().await?;
        self.used = Some(if uses_kvm { "kvm" } else { "tcg" });
        Ok(uses_kvm)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct OverlayFacts {
    disk: String,
    /// Bytes that the overlay took at the end.
    bytes: u64,
}

impl OverlayFacts {
    pub fn of(drives: &Drives) -> Vec<Self> {
        let overlays = drives.overlays().iter();
        let facts = overlays.map(|overlay| Self {
            disk: overlay.name().to_owned(),
            bytes: overlay.allocated().unwrap_or(0),
        });
        facts.collect()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct LayerFacts {
    path: PathBuf,
    format: Format,
    /// By which right the file was opened.
    by: Right,
    before: FileId,
    after: Option<FileId>,
    unchanged: Option<bool>,
    in_use: bool,
}

impl LayerFacts {
    /// All layers of `chains`, top first, as they are now.
    pub fn of(chains: &[Chain]) -> Vec<Self> {
        let layers = chains.iter().flat_map(Chain::layers);
        let facts = layers.map(|layer| Self {
            path: layer.path().to_owned(),
            format: layer.format(),
            by: layer.right(),
            before: layer.identity(),
            after: None,
            unchanged: None,
            in_use: layer.in_use(),
        });
        facts.collect()
    }

    /// Compares the same layers with what they were.
    pub fn record_end(all: &mut [Self], chains: &[Chain]) {
        let layers = chains.iter().flat_map(Chain::layers);
        for (facts, layer) in all.iter_mut().zip(layers) {
            facts.after = layer.identity_now().ok();
            facts.unchanged = facts.after.as_ref().map(|after| *after == facts.before);
        }
    }
}
