//! The appliance: a kernel, and an initramfs that is made on the fly and holds this very
//! program and the modules that it may need. Starts nothing, and writes to memory alone.
//!
//! [`tree`] knows the kernel's modules, [`groups`] which are wanted and when, [`unpack`] makes
//! one loadable, [`program`] is this program, [`cpio`] the archive.

pub mod cpio;
pub mod error;
pub mod groups;
pub mod program;
pub mod tree;
pub mod unpack;
pub mod vmlinux;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::guest::wire::disks::{MODULES, MODULES_LIST};
use crate::host::kernel::Kernel;
use cpio::Archive;
pub use error::ApplianceError;
use tree::Tree;

/// An initramfs in memory.
#[derive(Debug)]
pub struct Initramfs {
    /// A sealed memfd. QEMU takes it as `-initrd /proc/self/fd/N`.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// How many modules are in it.
    pub modules: usize,
}

/// An initramfs for `kernel` with this process's own program as its init. The same kernel and
/// the same program give the same bytes.
///
/// # Errors
/// See [`ApplianceError`].
pub fn initramfs(kernel: &Kernel) -> Result<Initramfs, ApplianceError> {
    initramfs_with(kernel, &program::own().map_err(ApplianceError::Program)?)
}

/// [`initramfs`] with another program, as it will be in the archive.
///
/// # Errors
/// See [`ApplianceError`].
pub fn initramfs_with(kernel: &Kernel, init: &[u8]) -> Result<Initramfs, ApplianceError> {
    let modules = loadable(kernel)?;
    let file = memfd_create(c"bivouac-initramfs", flags()).map_err(memory)?;
    let (file, size) = write(File::from(file), init, &modules).map_err(ApplianceError::Memory)?;
    // Whoever holds it next only reads it.
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(memory)?;
    Ok(Initramfs {
        file,
        size,
        modules: modules.files.len(),
    })
}

fn flags() -> MFdFlags {
    MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING
}

fn memory(error: nix::errno::Errno) -> ApplianceError {
    ApplianceError::Memory(error.into())
}

/// Modules that are ready to be written.
struct Loadable {
    /// One line a module: its group and its file's name, in load order.
    list: String,
    /// Name, such as `xfs.ko`, and content.
    files: Vec<(String, Vec<u8>)>,
}

fn loadable(kernel: &Kernel) -> Result<Loadable, ApplianceError> {
    let Some(directory) = &kernel.modules else {
        let image = kernel.image.clone();
        return Err(ApplianceError::NoModules { image });
    };
    let failed = |(path, source)| ApplianceError::Module { path, source };
    let tree = Tree::read(directory).map_err(failed)?;
    let chosen = groups::choose(&tree).map_err(|module| ApplianceError::NoVirtio {
        modules: directory.clone(),
        module,
    })?;
    let mut list = String::new();
    let mut files = Vec::new();
    let mut there = HashSet::new();
    for module in chosen {
        let name = format!("{}.ko", tree::name_of(&module.file));
        list.push_str(&format!("{} {name}\n", module.group));
        if there.insert(name.clone()) {
            let path = tree.directory().join(&module.file);
            let content = fs::read(&path)
                .and_then(|file| unpack::unpack(&module.file, file))
                .map_err(|error| failed((path, error)))?;
            files.push((name, content));
        }
    }
    Ok(Loadable { list, files })
}

fn write(out: File, init: &[u8], modules: &Loadable) -> io::Result<(File, u64)> {
    let mut archive = Archive::new(out);
    for directory in ["dev", "proc", "sys", "run", "tmp", "sysroot", name(MODULES)] {
        archive.directory(directory, 0o755)?;
    }
    // The kernel opens it as init's standard streams, before anything is mounted.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, init)?;
    archive.file(name(MODULES_LIST), 0o644, modules.list.as_bytes())?;
    for (file, content) in &modules.files {
        archive.file(&format!("{}/{file}", name(MODULES)), 0o644, content)?;
    }
    archive.finish()
}

/// A path as an archive has it.
fn name(path: &str) -> &str {
    path.trim_start_matches('/')
}
