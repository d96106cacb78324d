//! Builds kernel and initramfs, each in a child process: unpacking a kernel takes 100 MB that this
//! process would not give back, and two processors build both in the time of one.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Seek};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{ApplianceError, boot_image, initramfs, memory_file, sealed};
use crate::host::kernel::Kernel;
use crate::sys;

/// What QEMU starts the appliance with, as `-kernel` and `-initrd /proc/self/fd/N`.
#[derive(Debug)]
pub(crate) struct KernelAndInitrd {
    /// A sealed memfd, or the host's own file.
    pub kernel: File,
    /// A sealed memfd.
    pub initramfs: File,
}

/// Builds both. If this process has more than one thread it cannot fork, and does it all itself.
pub(crate) fn make(kernel: &Kernel) -> Result<KernelAndInitrd, ApplianceError> {
    let image = || boot_image(kernel);
    let archive = || initramfs(kernel).map(|made| made.file);
    let (first, second) = (
        ChildBuild::start(c"bivouac-kernel", image)?,
        ChildBuild::start(c"bivouac-initramfs", archive)?,
    );
    Ok(KernelAndInitrd {
        kernel: first.map_or_else(image, |build| build.finish(image))?,
        initramfs: second.map_or_else(archive, |build| build.finish(archive))?,
    })
}

#[derive(Debug)]
struct ChildBuild {
    file: File,
    child: Pid,
}

impl ChildBuild {
    /// `None` if no child can be forked.
    fn start(
        name: &CStr,
        make: impl FnOnce() -> Result<File, ApplianceError>,
    ) -> Result<Option<Self>, ApplianceError> {
        let file = memory_file(name)?;
        let parent = nix::unistd::getpid();
        let forked = sys::fork_child(|| {
            // The child ends with this process, even if that has just ended.
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

    /// The file. If the child failed, `again` fails too, and says why.
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

/// Copies all of `from`, from its beginning.
fn copy(mut from: &File, mut to: &File) -> io::Result<u64> {
    from.rewind()?;
    io::copy(&mut from, &mut to)
}
