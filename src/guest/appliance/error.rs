//! Why there is no appliance, and what mends it.

use std::io;
use std::path::PathBuf;

use crate::host::kernel;

/// Why the appliance's initramfs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// The kernel that was named has no modules on this host.
    #[error("the modules of the kernel {} are not on this host", image.display())]
    NoModules {
        /// The kernel.
        image: PathBuf,
    },
    /// The kernel cannot be read.
    #[error("reading the kernel {}", path.display())]
    Kernel {
        /// Its file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel's modules cannot be read or unpacked.
    #[error("reading {}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The kernel cannot drive QEMU's devices.
    #[error("the kernel with modules in {} has no {module}, neither built in nor as a file",
        modules.display())]
    NoVirtio {
        /// The directory of its modules.
        modules: PathBuf,
        /// The module's name.
        module: &'static str,
    },
    /// This very program cannot be taken along.
    #[error("taking this program along as the appliance's init")]
    Program(#[source] io::Error),
    /// The memory that holds the initramfs cannot be written.
    #[error("writing the appliance's initramfs to memory")]
    Memory(#[source] io::Error),
}

impl ApplianceError {
    /// The command or the flag that helps.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::NoModules { .. } => Some(kernel::modules_mend()),
            Self::Module { path, source } if source.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent()?;
                Some(format!(
                    "`sudo depmod {}`, or install the kernel's package again",
                    directory.file_name()?.display()
                ))
            }
            Self::NoVirtio { .. } => Some(
                "--kernel FILE with a distribution's kernel, whose virtio drivers are in \
                 /lib/modules/RELEASE"
                    .into(),
            ),
            Self::Program(source) if source.kind() == io::ErrorKind::InvalidData => {
                Some("a bivouac that is built as its project builds it, linked statically".into())
            }
            Self::Kernel { path, .. } => Some(kernel::unreadable_mend(path)),
            Self::Module { .. } | Self::Program(_) | Self::Memory(_) => None,
        }
    }
}
