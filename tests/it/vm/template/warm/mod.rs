//! Templates of images, `run --warm`: the box, booted by its own init, saved and restored.

mod cold;
mod damaged;
mod distinct;
mod killed;
mod restored;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bivouac::template::manifest::Manifest;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::Pid;
use serde_json::Value;

use super::templates;
use crate::env::bivouac::{Bivouac, Finished};
use crate::env::box_image;
use crate::env::guests::{guest, tiny};
use crate::env::residue::{alive, files, sha256};
use crate::env::wait::soon;

/// A shell on the console, a network that is up and has leased an address, a host name, all before it is saved.
const INITTAB: &str = "::sysinit:/bin/mount -t proc proc /proc
::sysinit:/bin/mount -t devtmpfs dev /dev
::sysinit:/bin/mount -t sysfs sysfs /sys
::sysinit:/bin/hostname -F /etc/hostname
::sysinit:/bin/ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
::sysinit:/bin/busybox udhcpc -n -q -i eth0 -s /bin/true
ttyS0::respawn:-/bin/sh
";

/// Of the template.
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// An image of one's own, and a store that nobody else uses.
struct WarmFixture(tempfile::TempDir);

impl WarmFixture {
    fn new() -> Self {
        Self::started_by(INITTAB)
    }

    fn started_by(inittab: &str) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let fixture = Self(dir);
        fs::create_dir(fixture.path("tmp")).unwrap();
        box_image::copy(&fixture.image());
        let machine_id = format!("{MACHINE_ID}\n");
        let files = [("inittab", inittab), ("machine-id", &machine_id)];
        box_image::write_into_etc(&fixture.image(), &files);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("image.raw")
    }

    /// `bivouac run` of its image, on its store.
    fn run(&self, options: &[&str]) -> Bivouac {
        Bivouac::run()
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("TMPDIR", self.path("tmp"))
            .args(tiny("switch"))
            .args(options)
            .arg(self.image())
    }

    /// `bivouac run --warm OPTIONS IMAGE -- sh -c SCRIPT`.
    fn warm(&self, options: &[&str], script: &str) -> Bivouac {
        let run = self.run(&["--warm", "--net", "user"]);
        run.args(options).args(["--", "sh", "-c", script])
    }

    /// The output of a script in a clone, which ends well and was restored at once.
    #[track_caller]
    fn tell(&self, options: &[&str], script: &str) -> String {
        let (finished, template) = self.reported(options, script);
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        assert_eq!(template, "restored", "{finished:?}");
        finished.stdout
    }

    /// The same with what the report says of the template.
    fn reported(&self, options: &[&str], script: &str) -> (Finished, Value) {
        let path = self.path("report.json");
        let report = format!("--report={}", path.display());
        let finished = self.warm(&[options, &[&report]].concat(), script).output();
        let text = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        let report: Value = serde_json::from_slice(&text).unwrap();
        (finished, report["template"].clone())
    }

    /// Published templates of a kind.
    fn published(&self, kind: &str) -> Vec<PathBuf> {
        let kind_of = |path: &Path| {
            let text = fs::read_to_string(path.join("manifest")).ok()?;
            Some(Manifest::from_text(&text)?.key.kind)
        };
        let mut found = self.names();
        found.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        found.retain(|path| kind_of(path).is_some_and(|found| found == kind));
        found
    }

    /// The template of its image.
    fn template(&self) -> PathBuf {
        let found = self.published("image");
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    /// Everything in the store, also what is half built.
    fn names(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(templates(&self.path("cache")));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Whether the template of the image is being written.
    fn is_being_written(&self) -> bool {
        let hidden = |path: &Path| path.file_name().unwrap().as_encoded_bytes()[0] == b'.';
        let mut names = self.names().into_iter();
        names.any(|path| hidden(&path) && path.join("memory").exists())
            // Before that it is the appliance's.
            && !self.published("appliance").is_empty()
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

    /// The image and the kernel, and the guest's files.
    fn untouched(&self) -> [String; 3] {
        let files = [self.image(), guest("tiny-kernel"), guest("tiny-initrd")];
        files.each_ref().map(|path| sha256(path))
    }
}

/// Holds the lock of a QEMU that writes to the image, until it is dropped.
fn as_if_written(image: &Path) -> OwnedFd {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_CLOEXEC);
    let file = file.open(image).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // That it writes, others may not share (QEMU, block/file-posix.c).
        l_start: 101,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file.into()
}
