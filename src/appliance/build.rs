//! Builds kernel and initramfs, each in a child process: unpacking a kernel takes 100 MB that this
//! process would not give back, and two processors build both in the time of one.

use std::ffi::CStr;
use std::fs::File;
use std::io::Seek;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{ApplianceError, memory_file, sealed, self_elf, write_initramfs, write_kernel};
use crate::host::kernel::Kernel;
use crate::sys;

/// What QEMU starts the appliance with, as `-kernel` and `-initrd /proc/self/fd/N`: sealed memfds.
#[derive(Debug)]
pub(crate) struct KernelAndInitrd {
    pub kernel: File,
    pub initramfs: File,
}

/// Builds both. If this process has more than one thread it cannot fork, and does it all itself.
pub(crate) fn make(kernel: &Kernel) -> Result<KernelAndInitrd, ApplianceError> {
    let image = |file: &File| write_kernel(kernel, file);
    let archive = |file: &File| {
        let init = self_elf::own().map_err(ApplianceError::Program)?;
        write_initramfs(kernel, &init, file)
    };
    let first = ChildBuild::start(c"bivouac-kernel", image)?;
    let second = ChildBuild::start(c"bivouac-initramfs", archive)?;
    Ok(KernelAndInitrd {
        kernel: first.finish(image)?,
        initramfs: second.finish(archive)?,
    })
}

#[derive(Debug)]
struct ChildBuild {
    file: File,
    /// `None` if no child can be forked.
    child: Option<Pid>,
}

impl ChildBuild {
    fn start(
        name: &CStr,
        write: impl FnOnce(&File) -> Result<(), ApplianceError>,
    ) -> Result<Self, ApplianceError> {
        let file = memory_file(name)?;
        let parent = nix::unistd::getpid();
        let forked = sys::fork_child(|| {
            // The child ends with this process, even if that has just ended.
            let _ = set_pdeathsig(Signal::SIGKILL);
            if nix::unistd::getppid() != parent {
                return 1;
            }
            u8::from(write(&file).is_err())
        });
        let child = forked.ok();
        Ok(Self { file, child })
    }

    /// The file. If the child failed, this process fails too, and says why.
    fn finish(
        mut self,
        write: impl FnOnce(&File) -> Result<(), ApplianceError>,
    ) -> Result<File, ApplianceError> {
        let ended = self.child.map(|child| waitpid(child, None));
        if !matches!(ended, Some(Ok(WaitStatus::Exited(_, 0)))) {
            let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
            emptied.map_err(ApplianceError::Memory)?;
            write(&self.file)?;
        }
        sealed(self.file)
    }
}
