//! Machines that are prepared step by step, and `bivouac test`, which runs each case in a copy of
//! one: the box, booted by its own init.

mod debian;
mod isolated;
mod killed;
mod named;
mod options;
mod packed;
mod prepared;
mod terminal;

use std::fs;
use std::path::PathBuf;

use nix::unistd::Pid;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::box_image;
use crate::env::guests::{guest, tiny};
use crate::env::residue::{alive, files, sha256};
use crate::env::wait::soon;

/// With terminals, and a network that is up.
const INITTAB: &str = "::sysinit:/bin/mount -t proc proc /proc
::sysinit:/bin/mount -t devtmpfs dev /dev
::sysinit:/bin/mount -t sysfs sysfs /sys
::sysinit:/bin/mkdir /dev/pts
::sysinit:/bin/mount -t devpts devpts /dev/pts
::sysinit:/bin/ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
";

/// An image of one's own, and a store that nobody else uses.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir_in("/var/tmp").unwrap());
        fs::create_dir(fixture.path("tmp")).unwrap();
        box_image::copy(&fixture.image());
        fixture.write_into_image("inittab", INITTAB);
        fixture
    }

    /// Replaces a file in the image's /etc.
    fn write_into_image(&self, name: &str, text: &str) {
        box_image::write_into_etc(&self.image(), &[(name, text)]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("image.raw")
    }

    /// `bivouac WORDS` on its store.
    fn bivouac(&self, words: &[&str]) -> Bivouac {
        Bivouac::new()
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("TMPDIR", self.path("tmp"))
            .args(words)
    }

    /// `bivouac COMMAND OPTIONS` of its machine; the image is the last word.
    fn machine(&self, command: &[&str], options: &[&str]) -> Bivouac {
        let words = self.bivouac(command).args(tiny("switch"));
        words.args(options).arg(self.image())
    }

    /// `bivouac test OPTIONS IMAGE --cases CASES -- sh -c {}`.
    fn test(&self, options: &[&str], cases: &[&str]) -> Bivouac {
        let words = self.machine(&["test"], options).arg("--cases");
        words.args(cases).args(["--", "sh", "-c", "{}"])
    }

    /// `bivouac run --warm OPTIONS IMAGE -- sh -c SCRIPT`, with what the report says of the template.
    fn run(&self, options: &[&str], script: &str) -> (Finished, Value) {
        let run = self.machine(&["run", "--warm"], options).reporting();
        let finished = run.args(["--", "sh", "-c", script]).output();
        let template = finished.report["template"].clone();
        (finished, template)
    }

    /// Nothing is left of runs beside the store: no process of `started`, no file.
    #[track_caller]
    fn is_clean(&self, started: &[Pid]) {
        soon(&format!("none is left of {started:?}"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        let left = files(&[&self.path("tmp")]);
        assert!(left.is_empty(), "{left:?}");
    }

    /// The image and the guest's other files.
    fn untouched(&self) -> [String; 3] {
        let files = [self.image(), guest("tiny-kernel"), guest("tiny-initrd")];
        files.each_ref().map(|path| sha256(path))
    }
}

/// The events that `--json` has printed, of one kind.
fn events(finished: &Finished, kind: &str) -> Vec<Value> {
    let events = finished.stdout.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event
    });
    events.filter(|event| event["event"] == kind).collect()
}

/// What came of a case, by its events.
#[track_caller]
fn ended(finished: &Finished, case: &str) -> Value {
    let mut events = events(finished, "case-ended");
    events.retain(|event| event["case"] == case);
    assert_eq!(events.len(), 1, "{case}: {finished:?}");
    events.remove(0)
}
