//! The directory of templates. Each template is a directory of its own; it is built under a
//! hidden name and published by one rename, so that a crash at any instant leaves nothing that is
//! ever used. Nothing is flushed to disk: after a loss of power a torn template is known by its
//! digests.
//!
//! Every template holds a file `lock` (flock(2)): a process that removes it locks it exclusively; its
//! users share it. Builders lock a file beside the store ([`locks`]).
//!
//! A template may have a name given by a user ([`names`]).
//!
//! Everything is done by names in open directories ([`owned_dir`]), from the root down ([`place`]), so
//! that no other user can exchange what was checked.

mod builder;
mod locks;
mod names;
mod owned_dir;
mod place;
mod verified;

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;

use super::key::Key;
use super::manifest::Manifest;
use crate::linux::file_id::FileStamp;
use crate::text::escape::shell_word;
pub use builder::Builder;
pub use names::{NameRecord, Named, parse_name};
use owned_dir::OwnedDir;

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
            Self::NotOurs { path, why } if *why != place::ANOTHERS => Some(format!(
                "`chmod {} {}` if it is yours, or set XDG_CACHE_HOME to a directory of your own",
                if *why == place::REPLACEABLE {
                    "go-w"
                } else {
                    "700"
                },
                shell_word(path)
            )),
            Self::NotOurs { .. } | Self::Io { .. } => {
                Some("set XDG_CACHE_HOME to a directory of your own".to_owned())
            }
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
    path: PathBuf,
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    above: OwnedDir,
    /// The name in `above` of the file that builders lock.
    lock: String,
    templates: OwnedDir,
}

/// Whether this process is root, and not only so in a user namespace with few users.
fn is_host_root() -> bool {
    nix::unistd::geteuid().is_root() && place::unmapped().is_none()
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
    directory: OwnedDir,
    /// Its overlays, not yet compared with their digests either.
    pub overlays: Vec<File>,
    _lock: Flock<File>,
}

/// What is known of a template, for a list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EntryInfo {
    pub name: String,
    /// The name that a user gave it.
    pub named: Option<String>,
    /// The template that it was made from by one more step.
    pub parent: Option<String>,
    /// Its key, unless its manifest is damaged.
    pub key: Option<Key>,
    /// Bytes that it takes on its filesystem.
    pub bytes: u64,
    /// When it was used last, in seconds since 1970.
    pub used: u64,
    pub in_use: bool,
}

impl Store {
    /// The user's: `$XDG_CACHE_HOME/bivouac/templates`, created if it is missing. Root's is not below
    /// `$HOME`, which may be another user's (`sudo -E`).
    pub fn open() -> Result<Self, StoreError> {
        // A relative path is to be ignored (XDG Base Directory Specification).
        let absolute = |name: &str| {
            let path = PathBuf::from(env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let cache = absolute("XDG_CACHE_HOME").or_else(|| match is_host_root() {
            true => Some("/var/cache".into()),
            false => Some(absolute("HOME")?.join(".cache")),
        });
        let cache = cache.ok_or(StoreError::Nowhere)?;
        Self::open_at(&cache.join("bivouac/templates"))
    }

    /// [`Store::open`] in another directory.
    pub fn open_at(directory: &Path) -> Result<Self, StoreError> {
        let (above, templates) = place::open_checked(directory)?;
        let name = directory.file_name().unwrap_or_default();
        let lock = format!("{}.lock", name.to_string_lossy());
        Ok(Self {
            path: directory.to_owned(),
            open: Arc::new(Open {
                above,
                lock,
                templates,
            }),
        })
    }

    pub fn directory(&self) -> &Path {
        &self.path
    }

    /// The path of a template, for messages.
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The template of `key`, which stays while the result is held. None if there is none, or it is
    /// being removed.
    pub fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (name, path) = (key.name(), self.path(&key.name()));
        let locked = locks::shared(&self.open.templates, &name);
        let Some((directory, lock)) = locked.map_err(failed("locking", &path))? else {
            return Ok(None);
        };
        let damaged = |what| StoreError::Damaged {
            path: path.clone(),
            what,
        };
        if let Ok(why) = directory.read_text(UNUSABLE) {
            let since = directory
                .open(UNUSABLE)
                .and_then(|file| file.metadata()?.modified());
            let age = since.ok().and_then(|since| since.elapsed().ok());
            return Err(match age {
                Some(age) if age < UNUSABLE_FOR => StoreError::Unusable { path, why },
                _ => damaged("it could not be restored"),
            });
        }
        let text = directory.read_text(MANIFEST);
        let text = text.map_err(failed("reading", &path.join(MANIFEST)))?;
        let manifest = Manifest::from_text(&text).ok_or(damaged("its manifest"))?;
        if manifest.key != *key {
            return Err(damaged("it is of another key"));
        }
        let state = directory.read(STATE);
        let state = state.map_err(failed("reading", &path.join(STATE)))?;
        if super::digest::of(&state) != manifest.state_digest {
            return Err(damaged("its state"));
        }
        let open = |name: &str, stamp: FileStamp| {
            let opened = directory.open(name);
            let opened = opened.and_then(|file| Ok((FileStamp::of(&file)? == stamp, file)));
            opened.map_err(failed("opening", &path.join(name)))
        };
        let (true, memory) = open(MEMORY, manifest.memory)? else {
            return Err(damaged("its memory"));
        };
        let mut overlays = Vec::new();
        for (index, kept) in manifest.overlays.iter().enumerate() {
            let (true, file) = open(&overlay_name(index), kept.identity)? else {
                return Err(damaged("an overlay"));
            };
            overlays.push(file);
        }
        // The least recently used goes first. A store that cannot be written loses none.
        let _ = directory.touch();
        Ok(Some(Entry {
            manifest,
            memory,
            state,
            path,
            directory,
            overlays,
            _lock: lock,
        }))
    }

    /// Marks a template that could not be restored: trying again at each start would take longer
    /// than booting.
    pub fn mark_unusable(&self, entry: &Entry, why: &str) {
        if let Err(error) = entry.directory.replace(UNUSABLE, why) {
            tracing::debug!("{}: {error}", entry.path.display());
        }
    }

    /// Every template, the one that was used last first.
    pub fn list(&self) -> Result<Vec<EntryInfo>, StoreError> {
        let mut listed = Vec::new();
        for name in self.names()? {
            let Ok(template) = self.open.templates.dir(&name) else {
                continue;
            };
            let (false, Ok(found)) = (name.starts_with('.'), template.stat("")) else {
                continue;
            };
            let text = template.read_text(MANIFEST).unwrap_or_default();
            let key = Manifest::from_text(&text).map(|manifest| manifest.key);
            let parent = key.as_ref().and_then(Key::parent);
            listed.push(EntryInfo {
                named: self.name_of(&name).map(|record| record.name),
                parent: parent.map(|parent| parent.name()),
                key,
                bytes: template.allocated(),
                used: found.st_mtime.try_into().unwrap_or(0),
                in_use: matches!(locks::exclusive(&self.open.templates, &name), Ok(None)),
                name,
            });
        }
        listed.sort_by_key(|template| std::cmp::Reverse(template.used));
        Ok(listed)
    }

    /// Removes a template, unless it is in use: whether it is gone.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let (path, templates) = (self.path(name), &self.open.templates);
        let locked = match locks::exclusive(templates, name) {
            Ok(Some(locked)) => locked,
            Ok(None) => return Ok(false),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed("locking", &path)(error)),
        };
        // First out of sight, at once; then piece by piece.
        let hidden = match name.starts_with('.') {
            true => name.to_owned(),
            false => {
                let hidden = format!("{OLD}{name}");
                let _ = templates.remove(&hidden);
                templates
                    .rename(name, &hidden)
                    .map_err(failed("removing", &path))?;
                hidden
            }
        };
        templates
            .remove(&hidden)
            .map_err(failed("removing", &path))?;
        drop(locked);
        Ok(true)
    }

    /// Removes what builders and removers that were killed left behind.
    pub fn sweep(&self) {
        let names = self.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with('.')) {
            let removed = match name.strip_prefix(NEW).map(|new| self.lock_to_build(new)) {
                // It is being published.
                Some(Ok(None)) => Ok(false),
                Some(Err(error)) => Err(failed("locking", &self.path)(error)),
                Some(Ok(Some(_lock))) => self.remove(name),
                None => self.remove(name),
            };
            if let Err(error) = removed {
                tracing::debug!("{error}");
            }
        }
    }

    /// Removes the least recently used templates until all take no more than `limit` bytes. Those
    /// in use stay, and those with a name, which do not count.
    pub fn shrink(&self, limit: u64) -> Result<(), StoreError> {
        let mut listed = self.list()?;
        listed.retain(|template| template.named.is_none());
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
        let names = self.open.templates.names();
        names.map_err(failed("reading", &self.path))
    }
}
