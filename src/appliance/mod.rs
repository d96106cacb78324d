//! The appliance: a kernel of this host, and an initramfs built on the fly with this program as
//! its init and the kernel modules it may need. Starts nothing, and writes only to memory.
//!
//! [`vmlinux`] is the unpacked kernel. `module_index` knows its modules, `module_sets` which are
//! wanted and when, `modules` unpacks them. [`self_elf`] is this program, `cpio` the archive.
//! `build` does it all, in child processes. `depmod` makes the index of modules where there is none.

pub mod boot;
mod build;
mod cpio;
pub(crate) mod depmod;
mod error;
mod module_index;
mod module_sets;
mod modules;
pub mod self_elf;
pub mod vmlinux;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};

use crate::host::kernel::Kernel;
use crate::linux::memfd;
use crate::protocol::disks::{Kind, MODULES, MODULES_LIST};
pub(crate) use build::make;
use cpio::Archive;
pub use error::ApplianceError;
use module_index::ModuleIndex;

/// The appliance's kernel command line.
///
/// - `quiet`: only errors reach the console, which is slow under emulation.
/// - `cryptomgr.notests`, `8250.nr_uarts=1`: fewer self-tests and probes.
/// - `tsc=reliable`, `no_timer_check`: the clocks are QEMU's, and need no calibration.
/// - `mitigations=off`: the appliance keeps no secrets from its own processes.
/// - `random.trust_cpu=on`: nothing waits for entropy.
/// - `init_on_alloc=0`, `lsm=`, `audit=0`, `psi=0`, `cgroup_disable=`: no accounting and no checks
///   for each file, page and switch. There is only one user.
/// - `rcupdate.rcu_expedited=1`: mounts and unmounts do not wait for the next tick.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet cryptomgr.notests 8250.nr_uarts=1 \
     tsc=reliable no_timer_check mitigations=off random.trust_cpu=on \
     init_on_alloc=0 lsm= audit=0 psi=0 cgroup_disable=memory,io,cpu,cpuacct,pids rcupdate.rcu_expedited=1";

/// The kernel to boot: a sealed memfd with what [`write_kernel`] writes. QEMU takes it as `-kernel
/// /proc/self/fd/N`.
pub fn boot_image(kernel: &Kernel) -> Result<File, ApplianceError> {
    let file = memory_file(c"bivouac-kernel")?;
    write_kernel(kernel, &file)?;
    sealed(file)
}

/// Writes the unpacked kernel to an empty file, or the kernel's own file if it cannot be unpacked.
fn write_kernel(kernel: &Kernel, file: &File) -> Result<(), ApplianceError> {
    let mut image = Vec::new();
    let read = File::open(&kernel.image)
        .and_then(|file| file.take(vmlinux::LARGEST).read_to_end(&mut image));
    read.map_err(|source| ApplianceError::Kernel {
        path: kernel.image.clone(),
        source,
    })?;
    vmlinux::write(&image, file).map_err(ApplianceError::Memory)
}

/// Fails if this program cannot be the init of an appliance, or the agent in a guest.
pub fn check_program() -> Result<(), ApplianceError> {
    self_elf::own().map(drop).map_err(ApplianceError::Program)
}

/// An initramfs for `kernel` with the program `init`, in a sealed memfd. QEMU takes it as `-initrd
/// /proc/self/fd/N`. Reproducible: the same kernel and program give the same bytes.
pub fn initramfs_with(kernel: &Kernel, init: &[u8]) -> Result<File, ApplianceError> {
    let file = memory_file(c"bivouac-initramfs")?;
    write_initramfs(kernel, init, &file)?;
    sealed(file)
}

fn memory_file(name: &CStr) -> Result<File, ApplianceError> {
    memfd::create(name).map_err(ApplianceError::Memory)
}

fn sealed(file: File) -> Result<File, ApplianceError> {
    memfd::seal(&file).map_err(ApplianceError::Memory)?;
    Ok(file)
}

/// Every kind of filesystem that is recognised, and whether `kernel` has a driver for it.
pub fn filesystems(kernel: &Kernel) -> Result<Vec<(Kind, bool)>, ApplianceError> {
    let index = index(kernel)?;
    let kinds = Kind::ALL.iter().filter(|kind| kind.is_filesystem());
    Ok(kinds
        .map(|kind| (*kind, module_sets::has_driver(&index, *kind)))
        .collect())
}

fn index(kernel: &Kernel) -> Result<ModuleIndex, ApplianceError> {
    let Some(directory) = &kernel.modules else {
        let image = kernel.image.clone();
        return Err(ApplianceError::NoModules { image });
    };
    ModuleIndex::read(directory).map_err(|(path, source)| ApplianceError::Module { path, source })
}

fn write_initramfs(kernel: &Kernel, init: &[u8], file: &File) -> Result<(), ApplianceError> {
    let index = index(kernel)?;
    let directory = index.directory();
    let selected = module_sets::select(&index).map_err(|module| ApplianceError::NoVirtio {
        modules: directory.to_owned(),
        module,
    })?;
    let mut list = String::new();
    let mut modules = BTreeMap::new();
    for module in selected {
        let name = format!("{}.ko", module_index::name_of(&module.file));
        let rare = if module.is_rare { " rare" } else { "" };
        list.push_str(&format!("{} {name}{rare}\n", module.set));
        modules.entry(name).or_insert(module.file);
    }
    let mut archive = begin(file, init, &list).map_err(ApplianceError::Memory)?;
    for (name, module) in modules {
        let path = directory.join(&module);
        let content = fs::read(&path).and_then(|file| modules::unpack(&module, file));
        let content = content.map_err(|source| ApplianceError::Module { path, source })?;
        let name = format!("{}/{name}", inside(MODULES));
        let written = archive.file(&name, 0o644, &content);
        written.map_err(ApplianceError::Memory)?;
    }
    archive.finish().map_err(ApplianceError::Memory)?;
    Ok(())
}

/// All but the modules.
fn begin<'a>(file: &'a File, init: &[u8], list: &str) -> io::Result<Archive<&'a File>> {
    let mut archive = Archive::new(file);
    for directory in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "sysroot",
        inside(MODULES),
    ] {
        archive.directory(directory, 0o755)?;
    }
    // The kernel opens it as init's standard streams before anything is mounted.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, init)?;
    archive.file(inside(MODULES_LIST), 0o644, list.as_bytes())?;
    Ok(archive)
}

/// A path in the archive.
fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}
