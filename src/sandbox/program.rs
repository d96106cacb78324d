//! What every QEMU may open to start, wherever it is installed.

use std::path::{Path, PathBuf};

use super::rules::Rules;
use crate::linux::program::Program;

/// Read by every QEMU while it starts, wherever it is installed.
const SYSTEM: [&str; 13] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/bus/nd/devices",
    "/dev/urandom",
];

/// Where QEMU has its modules and data, below the prefix that it is installed in.
const BELOW_PREFIX: [&str; 9] = [
    "lib",
    "lib64",
    "share/qemu",
    "share/qemu-kvm",
    "share/seabios",
    "share/OVMF",
    "share/ovmf",
    "share/edk2",
    "share/qboot",
];

impl Rules {
    /// The rules for a QEMU without a machine, which only answers questions.
    pub fn of_program(program: &Program, read: &[PathBuf]) -> Self {
        let prefix = program.path.parent().and_then(Path::parent);
        let below = BELOW_PREFIX
            .iter()
            .filter_map(|name| Some(prefix?.join(name)));
        let mut execute = vec![program.path.clone()];
        execute.extend(program.interpreters.iter().cloned());
        execute.extend(read.iter().cloned());
        Self {
            read: SYSTEM.iter().map(PathBuf::from).chain(below).collect(),
            execute,
            write: vec!["/dev/null".into()],
            fork: program.is_script,
            ..Self::default()
        }
    }
}
