//! Directories whose owner, mode and time are set late, because files may still be created in
//! them. A hostile stream could have any number of them, so their number is limited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

/// How much memory they may take, in bytes: half a million of them with paths of common lengths.
pub(super) const MOST: usize = 64 << 20;

/// How many bytes one of them takes besides its path.
const EACH: usize = 64;

pub(super) struct Deferred {
    pub(super) owner: (Uid, Gid),
    pub(super) mode: Mode,
    pub(super) modified: TimeSpec,
}

pub(super) struct Directories {
    waiting: BTreeMap<PathBuf, Deferred>,
    /// Their size in bytes.
    taken: usize,
    most: usize,
    /// The last one of the stream.
    current: PathBuf,
}

impl Directories {
    pub(super) fn up_to(most: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            taken: 0,
            most,
            current: PathBuf::new(),
        }
    }

    /// Adds a directory, or replaces what it gets.
    pub(super) fn put(&mut self, path: PathBuf, deferred: Deferred) {
        self.current.clone_from(&path);
        let taken = size(&path);
        if self.waiting.insert(path, deferred).is_none() {
            self.taken += taken;
        }
    }

    /// If there are too many: removes those that the stream has left, for writers go through a
    /// tree in order. Most often there are none.
    pub(super) fn too_many(&mut self) -> Vec<(PathBuf, Deferred)> {
        if self.taken <= self.most {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.waiting);
        let entered = |path: &PathBuf| self.current.starts_with(path);
        let (stay, go) = all.into_iter().partition(|(path, _)| entered(path));
        self.waiting = stay;
        self.taken = self.waiting.keys().map(|path| size(path)).sum();
        inner_first(go)
    }

    pub(super) fn all(&mut self) -> Vec<(PathBuf, Deferred)> {
        self.taken = 0;
        inner_first(std::mem::take(&mut self.waiting))
    }
}

fn size(path: &Path) -> usize {
    path.as_os_str().len() + EACH
}

/// Children before their parents.
fn inner_first(directories: BTreeMap<PathBuf, Deferred>) -> Vec<(PathBuf, Deferred)> {
    directories.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> Deferred {
        Deferred {
            owner: (Uid::from_raw(0), Gid::from_raw(0)),
            mode: Mode::empty(),
            modified: TimeSpec::UTIME_OMIT,
        }
    }

    #[test]
    fn directories_that_the_stream_has_left_do_not_wait_for_the_end() {
        let mut directories = Directories::up_to(10_000);
        let mut finished = 0;
        let long = "x".repeat(200);
        for number in 0..300 {
            directories.put("top".into(), last());
            directories.put(format!("top/{number}-{long}").into(), last());
            let left = directories.too_many();
            if finished == 0 && !left.is_empty() {
                // Of those that were entered, none.
                let newest = format!("top/{number}-{long}");
                assert!(left.iter().all(|(path, _)| *path != Path::new("top")));
                assert!(left.iter().all(|(path, _)| *path != Path::new(&newest)));
            }
            finished += left.len();
            assert!(directories.taken <= 10_000);
        }
        let rest = directories.all();
        assert_eq!(
            rest.last().map(|(path, _)| path.as_path()),
            Some(Path::new("top"))
        );
        assert!(finished > 200);
        assert_eq!(finished + rest.len(), 301);
    }
}
