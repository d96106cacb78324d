//! `bivouac run` with real guests.

mod block_nodes;
mod boots;
mod buses;
mod console;
mod debian;
mod ending_killed;
mod ends;
mod identical;
mod inherited;
mod inject;
mod internet;
mod keep;
mod kill;

mod other_kernel;
mod output_files;
mod packed;
mod progress;
mod qga;
mod saved;
mod screen;
mod space;
mod statuses;
mod stopped;
mod stuck;
mod terminal;
mod traced;
mod whole_job;

use std::path::Path;

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::guests::{guest, tiny};

/// The tiny guest on its own image, told to do `action`.
fn run_tiny(action: &str) -> Bivouac {
    Bivouac::run().args(tiny(action)).arg(guest("tiny.qcow2"))
}

/// The report that a run wrote.
fn report(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the report is there");
    serde_json::from_slice(&text).expect("the report is JSON")
}

/// Panics unless the run ended with this status.
#[track_caller]
fn ended(finished: &Finished, code: i32) {
    assert_eq!(finished.code(), Some(code), "{finished:?}");
}
