//! Errors of building the appliance, and their suggested fixes.

use std::io;
use std::path::PathBuf;

use crate::host::kernel;

#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    #[error("the modules of the kernel {} are not on this host", image.display())]
    NoModules { image: PathBuf },
    #[error("reading the kernel {}", path.display())]
    Kernel { path: PathBuf, source: io::Error },
    /// A module, or an index of the modules.
    #[error("reading {}", path.display())]
    Module { path: PathBuf, source: io::Error },
    #[error("the kernel with modules in {} has no {module}, neither built in nor as a file",
        modules.display())]
    NoVirtio {
        modules: PathBuf,
        module: &'static str,
    },
    #[error("using this program as the appliance's init")]
    Program(#[source] io::Error),
    #[error("writing the appliance's initramfs to memory")]
    Memory(#[source] io::Error),
}

impl ApplianceError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoModules { .. } => Some(kernel::modules_hint()),
            Self::Module { path, source } if source.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent()?;
                Some(format!(
                    "`sudo depmod {}`, or install the kernel's package again",
                    directory.file_name()?.display()
                ))
            }
            Self::NoVirtio { .. } => Some(
                "set BIVOUAC_KERNEL to a distribution's kernel, whose virtio drivers are in \
                 /lib/modules/RELEASE"
                    .into(),
            ),
            Self::Program(source) if source.kind() == io::ErrorKind::InvalidData => Some(
                "use a statically linked bivouac: a package of the project, or `cargo install \
                     --force bivouac` where the C library for static linking is installed \
                     (Debian: libc6-dev; Fedora: glibc-static)"
                    .into(),
            ),
            Self::Program(source) if source.kind() == io::ErrorKind::NotFound => {
                Some("mount /proc: `mount -t proc proc /proc`, or bwrap's `--proc /proc`".into())
            }
            Self::Kernel { path, .. } => Some(kernel::unreadable_hint(path)),
            Self::Module { .. } | Self::Program(_) | Self::Memory(_) => None,
        }
    }
}
