//! The sandbox of a machine that is about to start.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Once;

use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};

use super::plan::{Display, Plan};
use super::rules;
use super::start::StartError;
use crate::linux::program::Program;
use crate::linux::{memfd, proc_fd};
use crate::sandbox::{self, Enforced, Mode, confine, is_open_to_all};
use crate::sys::Confinement;

/// The environment of a program with a window.
const FOR_WINDOWS: [&str; 5] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "XAUTHORITY",
    "HOME",
];

pub(super) struct Confined<'a> {
    pub plan: Cow<'a, Plan>,
    pub confinement: Confinement,
    pub enforced: Enforced,
    /// `None` if QEMU has that of this process.
    pub environment: Option<Vec<(String, OsString)>>,
    /// What QEMU inherits besides: copies of files that its user cannot open.
    pub copies: Vec<OwnedFd>,
}

/// Says once if the host supports less than all of the sandbox. `files` are those that QEMU inherits.
pub(super) fn prepare<'a>(
    plan: &'a Plan,
    files: &[BorrowedFd<'_>],
) -> Result<Confined<'a>, StartError> {
    let mode = plan.sandbox.mode;
    let rules = rules::of_plan(plan, &Program::of(&plan.qemu));
    let mut support = sandbox::support();
    // A FUSE filesystem answers only to the user who mounted it, also about open files.
    if files.iter().any(is_on_fuse) {
        support.user = None;
    }
    let (confinement, enforced) = confine(mode, &rules, &support)?;
    tracing::debug!("{enforced}");
    if let Some(reason) = &enforced.weaker {
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::warn!("QEMU is confined less than usually: {reason}"));
    }
    let mut confined = Confined {
        plan: Cow::Borrowed(plan),
        environment: (mode != Mode::Off).then(|| environment(&plan.display)),
        confinement,
        enforced,
        copies: Vec::new(),
    };
    if confined.confinement.user.is_some() {
        confined.copy_private_files()?;
    }
    Ok(confined)
}

fn is_on_fuse(file: &BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == FUSE_SUPER_MAGIC)
}

fn environment(display: &Display) -> Vec<(String, OsString)> {
    let names: &[&str] = match display {
        Display::Gtk => &FOR_WINDOWS,
        Display::None | Display::Vnc(_) | Display::VncSocket(_) => &[],
    };
    let variables = names.iter();
    variables
        .filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)))
        .collect()
}

impl Confined<'_> {
    /// Replaces kernel and initrd by copies in memory if only root can open them, and QEMU will not
    /// be root.
    fn copy_private_files(&mut self) -> io::Result<()> {
        let Some(mut kernel) = self.plan.kernel.clone() else {
            return Ok(());
        };
        let files = std::iter::once(&mut kernel.kernel).chain(&mut kernel.initrd);
        for path in files {
            if !is_open_to_all(path) && !path.starts_with("/proc/self/fd") {
                let copy = copy(path)?;
                *path = proc_fd::path(&copy);
                self.copies.push(copy.into());
            }
        }
        if !self.copies.is_empty() {
            self.plan.to_mut().kernel = Some(kernel);
        }
        Ok(())
    }
}

fn copy(path: &PathBuf) -> io::Result<File> {
    let mut copy = memfd::create(c"bivouac-file")?;
    io::copy(&mut File::open(path)?, &mut copy)?;
    Ok(copy)
}
