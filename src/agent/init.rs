//! The agent as process 1: mounts the kernel's filesystems and sets up what programs expect.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::log;

/// Type, mount point and options.
const MOUNTS: [(&str, &str, &str); 6] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
];

/// Links in /dev that the kernel does not make.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// With most of these the kernel of an idle guest wakes up rarely. Each time costs an emulated processor some
/// hundred microseconds, and many guests may be idle at once. A kernel may lack some of them.
const SETTINGS: [(&str, &str); 5] = [
    // For `ring.rs`, as long as memory is in one piece.
    ("vm/nr_hugepages", "1"),
    // Wakes kcompactd twice a second unless it is 0.
    ("vm/compaction_proactiveness", "0"),
    // Every second, for counters that nobody reads.
    ("vm/stat_interval", "600"),
    // Every four seconds. Under emulation on a busy host, what it finds are no lockups.
    ("kernel/watchdog", "0"),
    // Every five seconds, in milliseconds.
    ("net/ipv4/neigh/default/interval_probe_time_ms", "3600000"),
];

/// Prepares the system. Failures are logged and do not stop it: the kernel may lack a filesystem,
/// or the initramfs may have prepared it already.
pub(crate) fn prepare() {
    for (kind, place, options) in MOUNTS {
        let flags = match kind {
            "devtmpfs" | "devpts" => MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            "tmpfs" => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            _ => MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        };
        // If it neither exists nor can be created, mounting reports that.
        let _ = fs::create_dir_all(place);
        match mount(Some(kind), place, Some(kind), flags, Some(options)) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => log::console(&format!("cannot mount {place}: {errno}")),
        }
    }
    for (link, target) in LINKS {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    for (name, value) in SETTINGS {
        let _ = fs::write(format!("/proc/sys/{name}"), value);
    }
    // Commands may use the loopback interface and the host name. A kernel without a network has
    // no loopback interface.
    let _ = crate::sys::loopback_up();
    let _ = nix::unistd::sethostname("bivouac");
    // Ctrl-Alt-Del must not reboot: send process 1 a signal instead, which it ignores.
    let _ = nix::sys::reboot::set_cad_enabled(false);
}
