//! Messages of the agent for a person at the console.

use std::fs::OpenOptions;
use std::io::Write;

/// Prints a message: to the kernel log if this is process 1, which shows it on the console, else
/// to standard error.
pub(crate) fn console(text: &str) {
    match std::process::id() {
        1 => kernel(text),
        _ => append("/proc/self/fd/2", "", text),
    }
}

/// Prints a message to the kernel log, which shows it on every console.
pub(crate) fn kernel(text: &str) {
    // Each write is a record of its own; <3> is the level "error".
    append("/dev/kmsg", "<3>", text);
}

fn append(path: &str, level: &str, text: &str) {
    if let Ok(mut file) = OpenOptions::new().append(true).open(path) {
        // A failure cannot be reported anywhere else.
        let _ = file.write_all(format!("{level}bivouac-agent: {text}\n").as_bytes());
    }
}
