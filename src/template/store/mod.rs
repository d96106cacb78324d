//! The directory of templates. Each template is a directory of its own; it is built under a
//! hidden name and published by one rename, so that a crash at any instant leaves nothing that is
//! ever used. Nothing is flushed to disk: after a loss of power a torn template is known by its
//! digests.
//!
//! Every template holds a file `lock` (flock(2)): its builder, or a process that removes it, locks it
//! exclusively; its users share it ([`locks`]).

mod builder;
mod locks;
mod verified;

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::Flock;

use super::key::Key;
use super::manifest::Manifest;
use crate::linux::file_id::FileStamp;
use crate::text::escape::shell_word;
pub use builder::Builder;

/// What a template's directory holds.
const LOCK: &str = "lock";
const MANIFEST: &str = "manifest";
const MEMORY: &str = "memory";
const STATE: &str = "state";
fn overlay_name(index: usize) -> String {
    format!("overlay-{index}")
}
/// Left by a template that could not be restored: why.
const UNUSABLE: &str = "unusable";

const UNUSABLE_FOR: Duration = Duration::from_secs(24 * 3600);

/// Hidden names: one that is being built, and one that is being removed.
const NEW: &str = ".new-";
const OLD: &str = ".old-";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no place for templates: HOME is not set")]
    Nowhere,
    #[error("the templates in {} are not used: {why}", path.display())]
    NotOurs { path: PathBuf, why: &'static str },
    #[error("{what} {}", path.display())]
    Io {
        /// What was done, such as `reading`.
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// QEMU could not save the machine, or not restore it, not long ago.
    #[error("the template {} could not be made or restored before: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("the template {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
}

impl StoreError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nowhere => Some("set XDG_CACHE_HOME, or use --no-template".to_owned()),
            Self::NotOurs { path, .. } => Some(format!(
                "`chmod 700 {}` if it is yours, or set XDG_CACHE_HOME to a directory of your own",
                shell_word(path)
            )),
            Self::Io { .. } => Some("set XDG_CACHE_HOME to a directory of your own".to_owned()),
            Self::Damaged { path, .. } | Self::Unusable { path, .. } => {
                let name = path.file_name()?.display();
                Some(format!("`bivouac template rm {name}` removes it"))
            }
        }
    }
}

/// For map_err: what failed with a path.
fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// A template in use, which is not removed.
#[derive(Debug)]
pub struct Entry {
    pub manifest: Manifest,
    /// Its memory, opened for reading; not yet compared with its digest.
    pub memory: File,
    /// The state of everything else; it has the digest that it should have.
    pub state: Vec<u8>,
    pub path: PathBuf,
    /// Its overlays, not yet compared with their digests either.
    pub overlays: Vec<(PathBuf, File)>,
    _lock: Flock<File>,
}

/// What is known of a template, for a list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EntryInfo {
    pub name: String,
    /// Its key, unless its manifest is damaged.
    pub key: Option<Key>,
    /// Bytes that it takes on its filesystem.
    pub bytes: u64,
    /// When it was used last, in seconds since 1970.
    pub used: u64,
    pub in_use: bool,
}

impl Store {
    /// The user's: `$XDG_CACHE_HOME/bivouac/templates`, created if it is missing.
    pub fn open() -> Result<Self, StoreError> {
        // A relative path is to be ignored (XDG Base Directory Specification).
        let absolute = |name: &str| {
            let path = PathBuf::from(env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        let cache = cache.ok_or(StoreError::Nowhere)?;
        Self::open_at(&cache.join("bivouac/templates"))
    }

    /// [`Store::open`] in another directory.
    pub fn open_at(directory: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(failed("making", directory))?;
        let found = fs::symlink_metadata(directory).map_err(failed("opening", directory))?;
        let why = if !found.is_dir() {
            "it is not a directory"
        } else if found.uid() != nix::unistd::geteuid().as_raw() {
            "it belongs to another user"
        } else if found.permissions().mode() & 0o077 != 0 {
            "other users can access it, and it contains the memory of guests"
        } else {
            return Ok(Self {
                directory: directory.to_owned(),
            });
        };
        Err(StoreError::NotOurs {
            path: directory.to_owned(),
            why,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The template of `key`, which stays while the result is held. None if there is none, or it is
    /// being removed.
    pub fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let path = self.directory.join(key.name());
        let Some(lock) = locks::shared(&path).map_err(failed("locking", &path))? else {
            return Ok(None);
        };
        let damaged = |what| StoreError::Damaged {
            path: path.clone(),
            what,
        };
        let place = path.join(UNUSABLE);
        if let Ok(why) = fs::read_to_string(&place) {
            let since = fs::metadata(&place).and_then(|found| found.modified());
            let age = since.ok().and_then(|since| since.elapsed().ok());
            return Err(match age {
                Some(age) if age < UNUSABLE_FOR => StoreError::Unusable { path, why },
                _ => damaged("it could not be restored"),
            });
        }
        let place = path.join(MANIFEST);
        let text = fs::read_to_string(&place).map_err(failed("reading", &place))?;
        let manifest = Manifest::from_text(&text).ok_or(damaged("its manifest"))?;
        if manifest.key != *key {
            return Err(damaged("it is of another key"));
        }
        let place = path.join(STATE);
        let state = fs::read(&place).map_err(failed("reading", &place))?;
        if super::digest::of(&state) != manifest.state_digest {
            return Err(damaged("its state"));
        }
        let place = path.join(MEMORY);
        let memory = File::open(&place).map_err(failed("opening", &place))?;
        if FileStamp::of(&memory).map_err(failed("reading", &place))? != manifest.memory {
            return Err(damaged("its memory"));
        }
        let mut overlays = Vec::new();
        for (index, kept) in manifest.overlays.iter().enumerate() {
            let place = path.join(overlay_name(index));
            let file = File::open(&place).map_err(failed("opening", &place))?;
            if FileStamp::of(&file).map_err(failed("reading", &place))? != kept.identity {
                return Err(damaged("an overlay"));
            }
            overlays.push((place, file));
        }
        // The least recently used goes first. A store that cannot be written loses none.
        if let Ok(directory) = File::open(&path) {
            let _ = directory.set_modified(SystemTime::now());
        }
        Ok(Some(Entry {
            manifest,
            memory,
            state,
            path,
            overlays,
            _lock: lock,
        }))
    }

    /// Marks a template that could not be restored: trying again at each start would take longer
    /// than booting.
    pub fn mark_unusable(&self, entry: &Entry, why: &str) {
        let place = entry.path.join(UNUSABLE);
        if let Err(error) = fs::write(&place, why) {
            tracing::debug!("{}: {error}", place.display());
        }
    }

    /// Every template, the one that was used last first.
    pub fn list(&self) -> Result<Vec<EntryInfo>, StoreError> {
        let mut listed = Vec::new();
        for name in self.names()? {
            let path = self.directory.join(&name);
            let Ok(found) = fs::metadata(&path) else {
                continue;
            };
            if name.starts_with('.') || !found.is_dir() {
                continue;
            }
            let text = fs::read_to_string(path.join(MANIFEST)).unwrap_or_default();
            listed.push(EntryInfo {
                key: Manifest::from_text(&text).map(|manifest| manifest.key),
                bytes: allocated(&path),
                used: found.mtime().try_into().unwrap_or(0),
                in_use: matches!(locks::exclusive(&path), Ok(None)),
                name,
            });
        }
        listed.sort_by_key(|template| std::cmp::Reverse(template.used));
        Ok(listed)
    }

    /// Removes a template, unless it is in use: whether it is gone.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.directory.join(name);
        let lock = match locks::exclusive(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(false),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed("locking", &path)(error)),
        };
        // First out of sight, at once; then piece by piece.
        let hidden = self.directory.join(format!("{OLD}{name}"));
        if name.starts_with('.') {
            fs::remove_dir_all(&path).map_err(failed("removing", &path))?;
        } else {
            let _ = fs::remove_dir_all(&hidden);
            fs::rename(&path, &hidden).map_err(failed("removing", &path))?;
            fs::remove_dir_all(&hidden).map_err(failed("removing", &hidden))?;
        }
        drop(lock);
        Ok(true)
    }

    /// Removes what builders and removers that were killed left behind.
    pub fn sweep(&self) {
        let names = self.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with('.')) {
            if let Err(error) = self.remove(name) {
                tracing::debug!("{error}");
            }
        }
    }

    /// Removes the least recently used templates until all take no more than `limit` bytes. Those
    /// in use stay.
    pub fn shrink(&self, limit: u64) -> Result<(), StoreError> {
        let mut listed = self.list()?;
        let mut total: u64 = listed.iter().map(|template| template.bytes).sum();
        while total > limit
            && let Some(oldest) = listed.pop()
        {
            match self.remove(&oldest.name) {
                Ok(true) => {
                    tracing::debug!("the template {} made room for others", oldest.name);
                    total -= oldest.bytes;
                }
                Ok(false) => {}
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries = fs::read_dir(&self.directory).map_err(failed("reading", &self.directory))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }
}

fn allocated(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| entry.metadata().ok());
    sizes.map(|found| found.blocks() * 512).sum()
}
