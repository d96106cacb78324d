//! What all reports have in common: their file, and what they tell of accelerators, layers and
//! overlays.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::Failure;
use super::run::written;
use crate::image::Format;
use crate::image::chain::Chain;
use crate::linux::file_id::FileId;
use crate::machine::drives::Drives;

/// The file of a report; none where none is wanted.
#[derive(Debug)]
pub struct Paper {
    file: Option<File>,
    /// The file keeps what is written, and can be written anew; a pipe gets the end alone.
    replaceable: bool,
}

impl Paper {
    /// Opens it, so that a path that cannot be written fails at once.
    ///
    /// # Errors
    /// It cannot be opened, or has something else in it.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = path.map(written::report).transpose()?;
        let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Self {
            replaceable: file.as_ref().is_some_and(is_regular),
            file,
        })
    }

    /// Whether it can be written before the end, too.
    pub fn is_replaceable(&self) -> bool {
        self.replaceable
    }

    /// Writes it, in place of what was written earlier.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut text = serde_json::to_vec_pretty(document).context("writing the report")?;
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

/// The accelerator of a machine.
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

/// What was written to each disk up to now.
pub fn overlays(drives: &Drives) -> Vec<OverlayFacts> {
    let overlays = drives.overlays().iter();
    let facts = overlays.map(|overlay| OverlayFacts {
        disk: overlay.name().to_owned(),
        bytes: overlay.allocated().unwrap_or(0),
    });
    facts.collect()
}

/// One layer's identity, before and after the machine.
#[derive(Debug, Serialize)]
pub struct LayerFacts {
    path: PathBuf,
    format: Format,
    before: FileId,
    after: Option<FileId>,
    unchanged: Option<bool>,
    in_use: bool,
}

impl LayerFacts {
    /// Those of all layers of `chains`, top first, as they are now.
    pub fn before(chains: &[Chain]) -> Vec<Self> {
        let layers = chains.iter().flat_map(Chain::layers);
        let facts = layers.map(|layer| Self {
            path: layer.path().to_owned(),
            format: layer.format(),
            before: layer.identity(),
            after: None,
            unchanged: None,
            in_use: layer.in_use(),
        });
        facts.collect()
    }

    /// Compares the same layers with what they were.
    pub fn after(all: &mut [Self], chains: &[Chain]) {
        let layers = chains.iter().flat_map(Chain::layers);
        for (facts, layer) in all.iter_mut().zip(layers) {
            facts.after = layer.identity_now().ok();
            facts.unchanged = facts.after.as_ref().map(|after| *after == facts.before);
        }
    }

    /// Its file, where it was changed meanwhile.
    pub fn changed(&self) -> Option<&Path> {
        (self.unchanged == Some(false)).then_some(self.path.as_path())
    }
}
