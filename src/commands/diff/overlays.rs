//! What a machine has changed on its disks: its overlays against what is below them.

use std::path::PathBuf;

use super::{Change, DiffOptions, Sides, Summary, diff};
use crate::launch::appliance_session::InspectionSpec;
use crate::launch::facts::AcceleratorFacts;
use crate::launch::keys::Keys;
use crate::launch::spec::{ApplianceSpec, OverlaySpec, VmSpec};
use crate::launch::{Failure, Progress};
use crate::linux::proc_fd;
use crate::machine::drives::Drives;
use crate::machine::phases::Phases;
use crate::machine::plan::Accelerator;

/// Compares the disks of the machine of `spec` with what they were when it was started: the images, and
/// for a machine that was restored, what it had written when it was saved. The machine has to be paused or
/// ended, and its overlays complete.
pub(crate) async fn diff_overlays(
    spec: &VmSpec,
    drives: &Drives,
    accelerator: Accelerator,
    options: DiffOptions,
    progress: &dyn Progress,
    sink: &mut impl AsyncFnMut(Change) -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let mut disks = spec.disks.clone();
    let image = match &spec.image {
        // An ISO in a CD-ROM drive has no overlay.
        Some(image) if !has_optical_image(drives) => image.clone(),
        _ if disks.is_empty() => return Ok(Summary::default()),
        _ => disks.remove(0).request(),
    };
    let below = (0..=disks.len()).map(|disk| own_layers(drives, disk));
    let below: Vec<Vec<PathBuf>> = below.collect();
    let with_overlays = below.iter().zip(drives.overlays()).map(|(below, overlay)| {
        let overlay = proc_fd::path(overlay);
        below.iter().cloned().chain([overlay]).collect()
    });
    let with_overlays = with_overlays.collect();
    let side = |overlays| InspectionSpec {
        image: image.clone(),
        disks: disks.clone(),
        keys: Keys::default(),
        overlays,
        warns: false,
        appliance: ApplianceSpec {
            kernel: spec.agent.kernel.clone(),
            qemu: spec.qemu.clone(),
            sandbox: spec.sandbox.clone(),
            ..ApplianceSpec::default()
        },
        overlay: OverlaySpec {
            max_write: None,
            ..spec.overlay.clone()
        },
        template: spec.template,
        kept: None,
        timeout: None,
        is_default_timeout: false,
        phases: Phases::default(),
        wants_facts: false,
    };
    let sides = Sides {
        before: side(below.clone()),
        after: side(with_overlays),
        root: None,
        accelerator: (accelerator, AcceleratorFacts::default()),
    };
    let (summary, _) = diff(sides, options, progress, sink).await?;
    Ok(summary)
}

fn has_optical_image(drives: &Drives) -> bool {
    let first = drives.chains().first();
    first.is_some_and(|chain| chain.top().is_optical_only())
}

/// The overlays that the chain of a disk has of its own, the lowest first, by paths that can be opened.
fn own_layers(drives: &Drives, disk: usize) -> Vec<PathBuf> {
    let Some(chain) = drives.chain_of(disk) else {
        return Vec::new();
    };
    let own = chain.layers()[..chain.overlays()].iter().rev();
    own.map(|layer| proc_fd::path(layer.fd())).collect()
}
