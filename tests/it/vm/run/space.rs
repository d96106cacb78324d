//! Where overlays live, and what happens when there is no room for them.

use std::path::Path;

use super::{ended, report};
use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::run as tool;
use crate::env::guests::{guest, tiny};
use crate::env::mount_ns::MountNs;

#[test]
fn a_full_disk_ends_the_run_with_the_directory_and_what_is_free() {
    let ns = MountNs::new();
    ns.shell("mount -t tmpfs -o size=24m small /mnt/overlays");
    let finished = ns.run_tiny("writeall").output();
    ended(&finished, 125);
    let said = &finished.stderr;
    assert!(
        said.contains("no space was left for the overlay of disk0 in /mnt/overlays"),
        "{said}"
    );
    assert!(said.contains("free)"), "{said}");
    assert!(said.contains("  hint: --overlay-dir DIR"), "{said}");
    // What is memory is said beforehand.
    assert!(
        said.contains("what the guest writes takes memory: /mnt/overlays"),
        "{said}"
    );
    assert!(ns.residue().is_empty(), "{:?}", ns.residue());
}

/// Its first writes are those of the injection.
#[test]
fn an_overlay_that_is_full_before_the_boot_is_told_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Cases::default();
    cases.case("--max-write", || {
        let run = Bivouac::run().args(["--max-write", "512K"]);
        let run = run.args(tiny("switch")).arg(guest("box.raw"));
        let finished = run.args(["--", "true"]).output();
        ended(&finished, 125);
        let said = &finished.stderr;
        let words = "more to disk0 than --max-write allows";
        assert!(said.contains(words), "{finished:?}");
    });
    cases.case("a full directory", || {
        let small = MountedSmall::new(dir.path());
        let run = Bivouac::run().arg("--overlay-dir").arg(small.0);
        let run = run.args(tiny("switch")).arg(guest("box.raw"));
        let finished = run.args(["--", "true"]).output();
        ended(&finished, 125);
        let words = "no space was left for the overlay of disk0";
        assert!(finished.stderr.contains(words), "{finished:?}");
    });
}

/// A filesystem of 1 MiB.
struct MountedSmall<'a>(&'a Path);

impl<'a> MountedSmall<'a> {
    fn new(place: &'a Path) -> Self {
        let at = place.to_str().unwrap();
        tool("mount", &["-t", "tmpfs", "-o", "size=1m", "small", at]);
        Self(place)
    }
}

impl Drop for MountedSmall<'_> {
    fn drop(&mut self) {
        tool("umount", &[self.0.to_str().unwrap()]);
    }
}

#[test]
fn the_write_limit_is_kept_by_the_kernel() {
    let ns = MountNs::new();
    let json = ns.path("report.json");
    let run = ns
        .run_tiny("writeall")
        .args(["--max-write", "8M"])
        .arg("--report");
    let finished = run.arg(ns.inside("report.json")).output();
    ended(&finished, 125);
    assert!(
        finished
            .stderr
            .contains("more to disk0 than --max-write allows"),
        "{finished:?}"
    );
    let written = report(&json)["overlays"][0]["bytes"].as_u64().unwrap();
    assert!((1 << 20..=8 << 20).contains(&written), "{written}");
}

#[test]
fn an_overlay_in_memory_needs_no_directory_at_all() {
    let ns = MountNs::new();
    // Nothing can be made anywhere that is not memory.
    ns.shell(
        "mount -o remount,ro /mnt && mount -o remount,ro /tmp && mount -o remount,ro /var/tmp",
    );
    let finished = ns
        .run_tiny("writeall")
        .args(["--overlay", "memory"])
        .output();
    ended(&finished, 0);
    assert!(finished.stdout.contains("tiny: wrote-all"), "{finished:?}");
}

#[test]
fn a_filesystem_without_unnamed_files_works_and_nothing_is_left_in_it_either() {
    let ns = MountNs::new();
    let _mounted = Fuse::over_the_overlays_of(&ns);
    let before = ns.free();
    let mut running = ns.run_tiny("write").start();
    let qemu = running.qemu();
    running.wait_for("tiny: wrote ");
    // What is unlinked while it is open, libfuse keeps under a name of its own until then.
    let is_fuses_own = |path: &std::path::PathBuf| path.to_string_lossy().contains(".fuse_hidden");
    let named = ns.residue();
    assert!(
        named.iter().all(is_fuses_own),
        "unlinked from the start: {named:?}"
    );
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    while crate::env::residue::alive(qemu) || ns.free() < before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ns.residue().is_empty(), "{:?}", ns.residue());
    let finished = ns.run_tiny("writeall").output();
    ended(&finished, 0);
}

/// FUSE filesystems have no O_TMPFILE unless they take pains. The server of this one ends when
/// it is unmounted.
struct Fuse<'a>(&'a MountNs);

impl<'a> Fuse<'a> {
    fn over_the_overlays_of(ns: &'a MountNs) -> Self {
        ns.shell("truncate -s 128M /mnt/disk && mkfs.ext4 -q /mnt/disk");
        ns.shell("fuse2fs -o fakeroot,rw /mnt/disk /mnt/overlays");
        let fuse = Self(ns);
        ns.shell("rm -rf /mnt/overlays/lost+found");
        fuse
    }
}

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        self.0.shell("umount --lazy /mnt/overlays");
    }
}
