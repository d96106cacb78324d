//! Keeps huge pages from a QEMU that restores a machine. It advises the kernel to use them for
//! translated code, of which a clone that lives for a second has little: to clear two megabytes for each
//! start of a region costs it more time, and memory, than it saves.

use nix::sys::prctl::{get_thp_disable, set_thp_disable};

use super::plan::{MemoryMapping, Plan};

/// Calls `spawn`, whose child has no huge pages if it restores a machine (prctl(2), PR_SET_THP_DISABLE,
/// which is inherited).
pub(super) fn spawning<T>(plan: &Plan, spawn: impl FnOnce() -> T) -> T {
    let before = get_thp_disable();
    if let (true, Ok(false)) = (is_restored(plan), before) {
        // Without it everything works, more slowly.
        let _ = set_thp_disable(true);
        let spawned = spawn();
        let _ = set_thp_disable(false);
        return spawned;
    }
    spawn()
}

fn is_restored(plan: &Plan) -> bool {
    plan.snapshot
        .is_some_and(|snapshot| match snapshot.mapping {
            MemoryMapping::SharedRestored
            | MemoryMapping::CopyOnWrite
            | MemoryMapping::CopyOnWriteAnswered
            | MemoryMapping::CopyOnWriteReadOnly => true,
            MemoryMapping::Shared | MemoryMapping::Boot => false,
        })
}
