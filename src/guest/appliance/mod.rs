//! The appliance: a kernel, and an initramfs that is made on the fly and holds this very
//! program and the modules that it may need. Starts nothing, and writes to memory alone.
//!
//! [`vmlinux`] is the kernel, unpacked. [`tree`] knows its modules, [`groups`] which are wanted
//! and when, [`unpack`] makes one loadable, [`program`] is this program, [`cpio`] the archive.
//! [`make`] does it all, in children.

pub mod cpio;
pub mod error;
pub mod groups;
mod made;
pub mod program;
pub mod tree;
pub mod unpack;
pub mod vmlinux;

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};

use crate::guest::wire::disks::{MODULES, MODULES_LIST};
use crate::host::kernel::Kernel;
use crate::linux::memfd;
use cpio::Archive;
pub use error::ApplianceError;
pub use made::{Made, make};
use tree::Tree;

/// The appliance's kernel command line, each word of which is there for a reason.
///
/// - `quiet`: errors and worse still reach the console, which is slow where it is emulated.
/// - `cryptomgr.notests`, `8250.nr_uarts=1`: less to try out.
/// - `tsc=reliable`, `no_timer_check`: the clocks are QEMU's, and need no calibration.
/// - `mitigations=off`: within the appliance nothing is kept secret from anything.
/// - `random.trust_cpu=on`: nothing waits for entropy.
/// - `init_on_alloc=0`, `lsm=`, `audit=0`, `cgroup_disable=memory`: no memory is cleared twice, and
///   nobody is asked or told about each file and page; there is one user here, and one work.
/// - `rcupdate.rcu_expedited=1`: mounts and unmounts do not wait for the next tick.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet cryptomgr.notests 8250.nr_uarts=1 \
     tsc=reliable no_timer_check mitigations=off random.trust_cpu=on \
     init_on_alloc=0 lsm= audit=0 cgroup_disable=memory rcupdate.rcu_expedited=1";

/// The kernel to boot: a sealed memfd with it unpacked, or its own file where that cannot be.
/// QEMU takes either as `-kernel /proc/self/fd/N`.
///
/// # Errors
/// See [`ApplianceError`].
pub fn boot_image(kernel: &Kernel) -> Result<File, ApplianceError> {
    let failed = |source| ApplianceError::Kernel {
        path: kernel.image.clone(),
        source,
    };
    let image = File::open(&kernel.image).map_err(failed)?;
    match vmlinux::unpacked(&image).map_err(failed)? {
        Some(unpacked) => {
            let mut file = memory_file(c"bivouac-kernel")?;
            file.write_all(&unpacked).map_err(ApplianceError::Memory)?;
            sealed(file)
        }
        None => Ok(image),
    }
}

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
    let file = memory_file(c"bivouac-initramfs")?;
    let (file, size) = write(file, init, &modules).map_err(ApplianceError::Memory)?;
    Ok(Initramfs {
        file: sealed(file)?,
        size,
        modules: modules.files.len(),
    })
}

fn memory_file(name: &CStr) -> Result<File, ApplianceError> {
    memfd::create(name).map_err(ApplianceError::Memory)
}

/// Whoever gets it next can only read it.
fn sealed(file: File) -> Result<File, ApplianceError> {
    memfd::seal(&file).map_err(ApplianceError::Memory)?;
    Ok(file)
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
