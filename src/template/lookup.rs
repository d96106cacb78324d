//! A template, whatever it is of: found in the store, or one's turn to build it; kept once it is
//! made; and out of the way once it was seen not to work.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{OTHERS_BUILD, TemplateError};
use super::key::Key;
use super::restore::Template;
use super::saved::Made;
use super::store::{Building, Saved, Store, StoreError, Stored, Turn};
use crate::guest::session::SessionError;

/// How often it is looked whether another process that builds the template is done.
const LOOK: Duration = Duration::from_millis(20);

/// What there is of a template.
#[derive(Debug)]
pub enum Obtained {
    /// All of it.
    Stored(Box<Stored>),
    /// Nothing, and nobody else is building it.
    Ours(Building),
}

/// Looks for the template of `key`. Where another process builds it, that is waited for.
///
/// # Errors
/// The store cannot be used, or others take too long.
pub async fn obtain(store: &Store, key: &Key) -> Result<Obtained, TemplateError> {
    let deadline = Instant::now() + OTHERS_BUILD;
    loop {
        if let Some(stored) = found(store, key)? {
            return Ok(Obtained::Stored(stored.into()));
        }
        match store.begin(key)? {
            Turn::Ours(building) => {
                // It may have been published between the two looks.
                return Ok(match found(store, key)? {
                    Some(stored) => Obtained::Stored(stored.into()),
                    None => Obtained::Ours(building),
                });
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

/// Publishes what was made, or the mark that it cannot be made here.
///
/// # Errors
/// That of `made`.
pub fn keep(
    store: &Store,
    building: Building,
    key: &Key,
    made: Result<Made, TemplateError>,
    most: u64,
) -> Result<Made, TemplateError> {
    match &made {
        Ok(made) => publish(store, building, key, made, most),
        Err(error @ (TemplateError::Saving(_) | TemplateError::NoMachineType)) => {
            building.give_up(&error.to_string())?;
        }
        Err(_) => {}
    }
    made
}

/// That this cannot be is no reason not to use it.
fn publish(store: &Store, building: Building, key: &Key, made: &Made, most: u64) {
    let saved = Saved {
        memory: &made.memory,
        state: &made.state,
        machine: &made.machine,
        qemu: made.qemu,
        overlays: &made.overlays,
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

/// A template was not restored: it is out of the way from now on, if it is its fault.
pub fn blame(store: &Store, key: &Key, template: Template, error: &TemplateError) {
    let Template::Stored(stored) = template else {
        return;
    };
    match error {
        TemplateError::Saving(why) => store.mark_unusable(&stored, &why.to_string()),
        // What was asked of this clone alone, such as a name that it cannot write down.
        TemplateError::Agent(SessionError::Refused(_)) => {}
        TemplateError::Agent(why) => store.mark_unusable(&stored, &why.to_string()),
        TemplateError::Damaged(_) => {
            drop(stored);
            // Else the next one finds it damaged again.
            let _ = store.remove(&key.name());
        }
        _ => {}
    }
}
