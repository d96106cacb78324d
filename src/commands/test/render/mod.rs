//! Results as text: for people, as TAP, as JSON events and as JUnit's XML. Pure.

pub(super) mod human;
pub(super) mod json;
pub(super) mod junit;
pub(super) mod tap;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::result::Counts;

/// All that is known at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub counts: Counts,
    /// Cases that were not run, or not to their end.
    pub not_run: usize,
    pub elapsed: Duration,
}

/// The output of a guest as lines of text.
fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().map(str::to_owned).collect()
}
