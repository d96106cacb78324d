//! Finds a template in the store or has it built, publishes what was built, and takes a template
//! out of use that turned out not to work.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::error::TemplateError;
use super::key::Key;
use super::restore::Template;
use super::snapshot::Snapshot;
use super::store::{Builder, Entry, Store, StoreError};

/// How often to check whether another process that builds the template is done.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct TemplateSlot {
    pub store: Store,
    pub key: Key,
    /// How many bytes all templates may take.
    pub limit: u64,
    /// How long another process may take to build it.
    pub patience: Duration,
    /// It is not looked for, and what was built is not published: nobody could say what it is for.
    pub is_unsaved: bool,
}

/// Builds the snapshot of a machine that has no template yet.
pub(crate) trait SnapshotBuilder {
    type Error: From<TemplateError>;

    /// Waits for the store, which may take as long as another process builds.
    async fn wait<T>(&mut self, lookup: impl Future<Output = T>) -> Result<T, Self::Error> {
        Ok(lookup.await)
    }

    async fn build(&mut self) -> Result<Snapshot, Self::Error>;

    /// What a failed build says about the template, if anything.
    fn template_error(error: &Self::Error) -> Option<&TemplateError>;
}

/// The template of `slot`: from the store, else built and published.
pub(crate) async fn get_or_build<B: SnapshotBuilder>(
    slot: &TemplateSlot,
    mut builder: B,
) -> Result<Template, B::Error> {
    if slot.is_unsaved {
        return builder.build().await.map(Template::Fresh);
    }
    let found = builder.wait(lookup(slot)).await?;
    let lock = match found? {
        Lookup::Found(entry) => return Ok(Template::Stored(entry)),
        Lookup::MustBuild(lock) => lock,
    };
    let built = builder.build().await;
    match &built {
        Ok(snapshot) => publish(slot, lock, snapshot),
        Err(error) => {
            if let Some(why @ (TemplateError::Snapshot(_) | TemplateError::NoMachineType)) =
                B::template_error(error)
                && why.is_of_template()
            {
                lock.give_up(&why.to_string())
                    .map_err(TemplateError::from)?;
            }
        }
    }
    built.map(Template::Fresh)
}

enum Lookup {
    Found(Box<Entry>),
    /// It is missing, and this process holds the lock to build it.
    MustBuild(Builder),
}

/// Looks for the template of `key`, and waits while another process builds it.
async fn lookup(slot: &TemplateSlot) -> Result<Lookup, TemplateError> {
    let (store, key) = (&slot.store, &slot.key);
    let deadline = Instant::now() + slot.patience;
    loop {
        if let Some(entry) = find(store, key)? {
            return Ok(Lookup::Found(entry.into()));
        }
        match store.begin(key)? {
            Some(builder) => {
                // It may have been published after it was not found.
                return Ok(match find(store, key)? {
                    Some(entry) => Lookup::Found(entry.into()),
                    None => Lookup::MustBuild(builder),
                });
            }
            None if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            None => return Err(TemplateError::Busy(slot.patience)),
        }
    }
}

/// As [`Store::find`], but warns of a damaged template, which is then built again.
pub(crate) fn find(store: &Store, key: &Key) -> Result<Option<Entry>, StoreError> {
    match store.find(key) {
        Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
            tracing::warn!("{:#}; it is made again", anyhow::Error::from(error));
            Ok(None)
        }
        found => found,
    }
}

/// A snapshot that cannot be published is used all the same.
fn publish(slot: &TemplateSlot, builder: Builder, snapshot: &Snapshot) {
    let kept = (snapshot.bytes().map_err(TemplateError::from)).and_then(|bytes| {
        if bytes > slot.limit {
            tracing::warn!(
                "the template is not kept: it takes {} MiB, and {} MiB are allowed \
                 (BIVOUAC_TEMPLATES_MAX)",
                bytes >> 20,
                slot.limit >> 20
            );
            return Ok(());
        }
        builder.publish(&slot.key, snapshot)?;
        Ok(slot.store.shrink(slot.limit)?)
    });
    if let Err(error) = kept {
        tracing::warn!("the template is not kept: {:#}", anyhow::Error::from(error));
    }
}

impl TemplateSlot {
    /// What came of restoring `template`. If that failed and the template is at fault, takes it out
    /// of use.
    pub fn settle<T>(
        &self,
        template: Template,
        restored: Result<T, TemplateError>,
    ) -> Result<(T, Template), TemplateError> {
        match restored {
            Ok(restored) => Ok((restored, template)),
            Err(error) => {
                if let Template::Stored(entry) = template {
                    self.take_out(*entry, &error);
                }
                Err(error)
            }
        }
    }

    fn take_out(&self, entry: Entry, error: &TemplateError) {
        match error {
            why if why.is_of_template() => self.store.mark_unusable(&entry, &why.to_string()),
            TemplateError::Damaged(_) => {
                drop(entry);
                // Else the next start finds it damaged again.
                let _ = self.store.remove(&self.key.name());
            }
            _ => {}
        }
    }
}
