//! The template of the appliance: found or built, and restored with an image's disks.
//!
//! The appliance is saved without a disk: it has vacant ones, without a byte. A restored one has
//! the image's in their place, and learns that they have grown. So nothing of any image is ever in
//! a template, no bus is searched after the restore, and one template serves all images.

use super::error::TemplateError;
use super::key::Key;
use super::obtain::{Obtained, blame, keep, obtain};
use super::restore::{Template, restore};
use super::saved::build;
use super::store::Store;
use crate::guest::boot::{self, Appliance, BootError, Settings};
use crate::machine::drives::Drives;
use crate::machine::plan::Disk;

/// An appliance with disks, and the template that it was restored from.
#[derive(Debug)]
pub struct Started {
    /// The appliance.
    pub appliance: Appliance,
    /// Held while the appliance runs, so that it is not removed. None where it was booted.
    pub template: Option<Template>,
}

/// Starts an appliance with `disks`, all that are among `drives`: restored from its template,
/// which is built first where there is none; booted where that cannot be, or `no_template` is
/// wanted. The store may take `most` bytes. One that was restored has this host's clock, and
/// random numbers of its own.
///
/// # Errors
/// See [`BootError`]: of booting, at last.
pub async fn start(
    no_template: bool,
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Started, BootError> {
    if !no_template {
        match restored(settings, most, drives, &disks, max_write).await {
            Ok(started) => return Ok(started),
            Err(error) => {
                let is_worth_a_word = error.is_worth_a_word();
                let error = anyhow::Error::from(error);
                match is_worth_a_word {
                    true => tracing::warn!("{error:#}; the appliance is booted"),
                    false => tracing::debug!("{error:#}; the appliance is booted"),
                }
            }
        }
    }
    let appliance = boot::boot(settings, drives, disks, max_write).await?;
    Ok(Started {
        appliance,
        template: None,
    })
}

async fn restored(
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: &[Disk],
    max_write: Option<u64>,
) -> Result<Started, TemplateError> {
    let store = Store::open()?;
    let key = Key::of_appliance(settings, disks.len())?;
    let template = get(settings, &store, &key, disks.len(), most).await?;
    settings.phases.mark(match template {
        Template::Stored(_) => "template",
        Template::Made(_) => "built",
    });
    match restore(settings, &template, drives, disks.to_vec(), max_write).await {
        Ok(appliance) => Ok(Started {
            appliance,
            template: Some(template),
        }),
        Err(error) => {
            blame(&store, &key, template, &error);
            Err(error)
        }
    }
}

/// The template of the appliance with `disks` disks: from the store, else built.
///
/// # Errors
/// It cannot be had.
pub async fn get(
    settings: &Settings,
    store: &Store,
    key: &Key,
    disks: usize,
    most: u64,
) -> Result<Template, TemplateError> {
    match obtain(store, key).await? {
        Obtained::Stored(stored) => Ok(Template::Stored(stored)),
        Obtained::Ours(building) => {
            let made = build(settings, disks).await;
            keep(store, building, key, made, most).map(Template::Made)
        }
    }
}
