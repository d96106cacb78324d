//! The event loop that all work with a machine runs on.

use std::future::Future;

use anyhow::Context;

use super::failure::Failure;
use crate::sys;

/// Runs `work` to its end on the current thread, which must be the main thread: the kernel kills
/// QEMU when the thread ends that started it.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    sys::keep_children_for_waiting().context("setting SIGCHLD back")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    done
}
