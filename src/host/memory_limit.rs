//! How much memory this process and its children may use, and how much of it the emulator may take for
//! translated code. Facts are from the kernel's Documentation/admin-guide/cgroup-v1/memory.rst and
//! cgroup-v2.rst.

use std::fs;
use std::path::Path;

use nix::sys::sysinfo::sysinfo;

/// The least that QEMU runs well with, in MiB, and the most that it takes (DEFAULT_CODE_GEN_BUFFER_SIZE
/// in tcg/region.c).
const BUFFER: (u64, u64) = (32, 1024);
/// What QEMU takes besides the guest's memory and the translated code, in MiB.
const QEMU: u64 = 128;

/// The size in MiB of the emulator's buffer for translated code, where QEMU's own choice would not fit:
/// it goes by the memory of the host, not by that of the control group.
pub fn tcg_buffer_mib(guest_mib: u64) -> Option<u64> {
    let host = sysinfo().ok()?.ram_total();
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = limit(Path::new("/sys/fs/cgroup"), &cgroups)?;
    buffer_mib(host >> 20, limit >> 20, guest_mib)
}

/// How many machines with so much memory may run at a time here.
pub fn machines(guest_mib: u64) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(Path::new("/sys/fs/cgroup"), &cgroups).unwrap_or(u64::MAX);
    let room = mem_available(&text)?.min(limit) >> 20;
    Some(room / (guest_mib + QEMU))
}

/// How much memory a process may still take, in bytes.
pub fn available() -> Option<u64> {
    mem_available(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// MemAvailable of /proc/meminfo, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix("MemAvailable:").map(str::to_owned);
    let rest = meminfo.lines().find_map(line)?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

fn buffer_mib(host: u64, limit: u64, guest: u64) -> Option<u64> {
    let (least, most) = BUFFER;
    // An eighth of the host's memory (tcg/region.c, size_code_gen_buffer).
    let default = (host / 8).min(most);
    let left = limit.saturating_sub(guest + QEMU);
    let buffer = (left / 2).max(least);
    (limit < host && buffer < default).then_some(buffer)
}

/// The limit in bytes of the control groups in `cgroups`, the content of /proc/self/cgroup. `root` is
/// where the hierarchies are mounted. In a container a group may be mounted as the root.
fn limit(root: &Path, cgroups: &str) -> Option<u64> {
    let limits = cgroups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        let limits = groups.filter_map(|group| {
            let text = fs::read_to_string(root.join(group).join(file)).ok()?;
            // `max` is no limit.
            text.trim().parse::<u64>().ok()
        });
        limits.min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_all_groups_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/b/memory.max", "max\n");
        put("a/memory.max", "4096\n");
        put("memory/memory.limit_in_bytes", "8192\n");
        put("memory/a/memory.limit_in_bytes", "1024\n");
        let limit = |cgroups| limit(dir.path(), cgroups);
        assert_eq!(limit("0::/a/b\n"), Some(4096));
        assert_eq!(limit("0::/\n"), None);
        assert_eq!(limit("5:cpu:/a\n4:memory:/a\n0::/a/b\n"), Some(1024));
        assert_eq!(limit("4:memory:/not/mounted/here\n"), Some(8192));
    }

    #[test]
    fn what_is_available_is_read() {
        let text = "MemTotal:  8 kB\nMemFree:   1 kB\nMemAvailable:   3 kB\n";
        assert_eq!(mem_available(text), Some(3072));
        assert_eq!(mem_available("MemTotal: 8 kB\n"), None);
    }

    #[test]
    fn the_buffer_is_half_of_what_is_left_where_the_default_would_not_fit() {
        assert_eq!(buffer_mib(24_000, 512, 256), Some(64));
        assert_eq!(buffer_mib(24_000, 300, 256), Some(32));
        assert_eq!(buffer_mib(24_000, 16_000, 2048), None);
        assert_eq!(buffer_mib(2000, 1 << 40, 256), None);
        // QEMU would take 250 MiB.
        assert_eq!(buffer_mib(2000, 1900, 256), None);
    }
}
