//! The template of the appliance: found or built, and restored with an image's disks.
//!
//! The appliance is saved without a disk: it has vacant ones, without a byte. A restored one has
//! the image's in their place, and learns that they have grown. So nothing of any image is ever in
//! a template, no bus is searched after the restore, and one template serves all images.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{OTHERS_BUILD, TemplateError};
use super::key::Key;
use super::restore::{Template, restore};
use super::saved::{Made, build};
use super::store::{Building, Saved, Store, StoreError, Stored, Turn};
use crate::guest::boot::{self, Appliance, BootError, Settings};
use crate::machine::drives::Drives;
use crate::machine::plan::Disk;

/// How often it is looked whether another process that builds the template is done.
const LOOK: Duration = Duration::from_millis(20);

/// An appliance with disks, and the template that it was restored from.
#[derive(Debug)]
pub struct Started {
    /// The appliance.
    pub appliance: Appliance,
    /// Held while the appliance runs, so that it is not removed. None where it was booted.
    pub template: Option<Template>,
}

/// Starts an appliance with `disks`, all that are among `drives`: restored from its template,
/// which is built first where there is none; booted where that cannot be. The store may take
/// `most` bytes. One that was restored has this host's clock, and random numbers of its own.
///
/// # Errors
/// See [`BootError`]: of booting, at last.
pub async fn start(
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Started, BootError> {
    match restored(settings, most, drives, &disks, max_write).await {
        Ok(started) => return Ok(started),
        Err(error) => {
            let error = anyhow::Error::from(error);
            match error
                .downcast_ref()
                .is_some_and(TemplateError::is_worth_a_word)
            {
                true => tracing::warn!("{error:#}; the appliance is booted"),
                false => tracing::debug!("{error:#}; the appliance is booted"),
            }
        }
    }
    let appliance = boot::boot(settings, drives, disks, max_write).await?;
    Ok(Started {
        appliance,
        template: None,
    })
}

/// [`start`], or a plain boot where no template is wanted.
///
/// # Errors
/// See [`BootError`].
pub async fn start_unless(
    no_template: bool,
    settings: &Settings,
    most: u64,
    drives: &Drives,
    disks: Vec<Disk>,
    max_write: Option<u64>,
) -> Result<Started, BootError> {
    if !no_template {
        return start(settings, most, drives, disks, max_write).await;
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
            if let Template::Stored(stored) = template {
                match &error {
                    TemplateError::Saving(why) => store.mark_unusable(&stored, &why.to_string()),
                    TemplateError::Agent(why) => store.mark_unusable(&stored, &why.to_string()),
                    TemplateError::Memory(_) => {
                        drop(stored);
                        // Else the next one finds it damaged again.
                        let _ = store.remove(&key.name());
                    }
                    _ => {}
                }
            }
            Err(error)
        }
    }
}

/// The template of the appliance with `disks` disks: from the store, else built. Where another
/// process builds it, that is waited for.
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
    let deadline = Instant::now() + OTHERS_BUILD;
    loop {
        if let Some(stored) = found(store, key)? {
            return Ok(Template::Stored(stored.into()));
        }
        match store.begin(key)? {
            Turn::Ours(building) => {
                // It may have been published between the two looks.
                if let Some(stored) = found(store, key)? {
                    return Ok(Template::Stored(stored.into()));
                }
                let made = match build(settings, disks).await {
                    Ok(made) => made,
                    Err(error) => {
                        if let TemplateError::Saving(_) | TemplateError::NoMachineType = &error {
                            building.give_up(&error.to_string())?;
                        }
                        return Err(error);
                    }
                };
                keep(store, building, key, &made, most);
                return Ok(Template::Made(made));
            }
            Turn::Others if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            Turn::Others => return Err(TemplateError::Others),
        }
    }
}

/// What the store has. One that is damaged is said, and built again.
fn found(store: &Store, key: &Key) -> Result<Option<Stored>, StoreError> {
    match store.find(key) {
        Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
            tracing::warn!("{:#}; it is made again", anyhow::Error::from(error));
            Ok(None)
        }
        found => found,
    }
}

/// Publishes it. That this cannot be is no reason not to use it.
fn keep(store: &Store, building: Building, key: &Key, made: &Made, most: u64) {
    let saved = Saved {
        memory: &made.memory,
        state: &made.state,
        machine: &made.machine,
        qemu: made.qemu,
    };
    let kept = (saved.bytes().map_err(TemplateError::from)).and_then(|bytes| {
        if bytes > most {
            let (bytes, most) = (bytes >> 20, most >> 20);
            tracing::warn!(
                "the template is not kept: it takes {bytes} MiB, and {most} MiB are allowed \
                 (BIVOUAC_TEMPLATES_MAX)"
            );
            return Ok(());
        }
        building.publish(key, &saved)?;
        Ok(store.shrink(most)?)
    });
    if let Err(error) = kept {
        let error = anyhow::Error::from(error);
        tracing::warn!("the template is not kept: {error:#}");
    }
}
