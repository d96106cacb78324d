//! Kernel and initramfs, each made by a child of this process: unpacking a kernel takes 100 MB
//! that the launcher would not give back, and two processors make both in the time of one.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{ApplianceError, boot_image, initramfs, memory_file, sealed};
use crate::host::kernel::Kernel;
use crate::sys;

/// What QEMU starts the appliance with, as `-kernel /proc/self/fd/N` and `-initrd` likewise.
#[derive(Debug)]
pub struct KernelAndInitrd {
    /// A sealed memfd, or the host's own file.
    pub kernel: File,
    /// A sealed memfd.
    pub initramfs: File,
}

/// Makes both. Best on the main thread while there is no other: else no child can be forked, and
/// this process does it all.
///
/// # Errors
/// See [`ApplianceError`].
pub fn make(kernel: &Kernel) -> Result<KernelAndInitrd, ApplianceError> {
    let image = || boot_image(kernel);
    let archive = || initramfs(kernel).map(|made| made.file);
    let (first, second) = (
        Making::start(c"bivouac-kernel", image)?,
        Making::start(c"bivouac-initramfs", archive)?,
    );
    Ok(KernelAndInitrd {
        kernel: first.map_or_else(image, |making| making.finish(image))?,
        initramfs: second.map_or_else(archive, |making| making.finish(archive))?,
    })
}

/// A file that a child makes.
#[derive(Debug)]
struct Making {
    file: File,
    child: Pid,
}

impl Making {
    /// None where no child can be forked.
    fn start(
        name: &CStr,
        make: impl FnOnce() -> Result<File, ApplianceError>,
    ) -> Result<Option<Self>, ApplianceError> {
        let file = memory_file(name)?;
        let parent = nix::unistd::getpid();
        let forked = sys::fork_child(|| {
            // It ends with this process, also where that has just ended.
            let _ = set_pdeathsig(Signal::SIGKILL);
            if nix::unistd::getppid() != parent {
                return 1;
            }
            let copied = make()
                .map_err(io::Error::other)
                .and_then(|made| copy(&made, &file));
            u8::from(copied.is_err())
        });
        Ok(forked.ok().map(|child| Self { file, child }))
    }

    /// What it made; what fails there fails in `again` too, which tells why.
    fn finish(
        self,
        again: impl FnOnce() -> Result<File, ApplianceError>,
    ) -> Result<File, ApplianceError> {
        match waitpid(self.child, None) {
            Ok(WaitStatus::Exited(_, 0)) => sealed(self.file),
            _ => again(),
        }
    }
}

/// The whole of `from`, whose offset may stand anywhere.
fn copy(from: &File, mut to: &File) -> io::Result<()> {
    let mut from = from;
    io::Seek::rewind(&mut from)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}
