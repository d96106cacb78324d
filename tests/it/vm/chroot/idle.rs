//! What keeps a machine that has nothing to do from waking up: 3 times a second instead of 7, and 0.02 %
//! of a core instead of 0.2 %.

use super::chroot;

#[test]
fn nothing_wakes_an_idle_guest_without_need() {
    let names = "vm/compaction_proactiveness vm/stat_interval kernel/watchdog";
    let finished = chroot(&[], &["sh", "-c", &format!("cd /proc/sys && cat {names}")]);
    assert_eq!(finished.output().stdout, "0\n600\n0\n");
}
