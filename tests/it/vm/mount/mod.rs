//! An image as a filesystem of this host.

mod command;
mod equal;
mod killed;
mod ntfs;
mod suspended;
mod tools;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, Finished, Running};
use crate::env::wait::patiently;

/// Whether something is mounted at a directory.
fn is_mounted(place: &Path) -> bool {
    let above = place.parent().unwrap().metadata().unwrap().dev();
    // What is dead cannot be asked.
    place.metadata().is_ok_and(|found| found.dev() != above)
}

/// The lines of /proc/mounts about a directory.
fn mounts(place: &Path) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/mounts").unwrap();
    let place = format!(" {} ", place.display());
    let lines = all.lines().filter(|line| line.contains(&place));
    lines.map(str::to_owned).collect()
}

/// An image at a directory of its own.
struct Mounted {
    running: Running,
    place: tempfile::TempDir,
}

impl Mounted {
    fn new(image: &Path, options: &[&str]) -> Self {
        Self::of(Bivouac::new(), image, options)
    }

    fn of(bivouac: Bivouac, image: &Path, options: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let command = bivouac.arg("mount").args(options);
        let running = command.arg(image).arg(place.path()).start();
        patiently("it is mounted", || is_mounted(place.path()));
        Self { running, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// By Ctrl-C.
    fn end(self) -> Finished {
        self.running.signal(Signal::SIGINT);
        let finished = self.running.wait();
        assert_eq!(mounts(self.place.path()), [""; 0]);
        finished
    }
}
