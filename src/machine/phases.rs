//! When each phase of a machine's life ended, for reports.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// Serializes as milliseconds since a start. Clones share one list.
#[derive(Clone, Debug)]
pub struct Phases {
    started: Instant,
    marks: Rc<RefCell<Vec<(&'static str, Duration)>>>,
}

impl Default for Phases {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Phases {
    pub fn since(started: Instant) -> Self {
        Self {
            started,
            marks: Rc::default(),
        }
    }

    /// An empty list with the same start.
    pub fn fresh(&self) -> Self {
        Self::since(self.started)
    }

    pub fn mark(&self, phase: &'static str) {
        self.mark_at(phase, Instant::now());
    }

    pub fn mark_at(&self, phase: &'static str, moment: Instant) {
        let elapsed = moment.saturating_duration_since(self.started);
        tracing::debug!("{phase} after {:.1} ms", elapsed.as_secs_f64() * 1e3);
        let mut marks = self.marks.borrow_mut();
        // If a phase is repeated, the last time counts.
        marks.retain(|(earlier, _)| *earlier != phase);
        marks.push((phase, elapsed));
    }

    pub fn mark_first(&self, phase: &'static str) {
        let known = (self.marks.borrow().iter()).any(|(marked, _)| *marked == phase);
        if !known {
            self.mark(phase);
        }
    }
}

impl Serialize for Phases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marks = self.marks.borrow();
        serializer.collect_map(
            marks
                .iter()
                .map(|(phase, elapsed)| (phase, (elapsed.as_secs_f64() * 1e6).round() / 1e3)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_their_marks_and_the_first_of_a_kind_stays() {
        let phases = Phases::default();
        phases.clone().mark("one");
        phases.mark_first("two");
        let before = serde_json::to_value(&phases).unwrap();
        phases.mark_first("two");
        phases.fresh().mark("three");
        assert_eq!(serde_json::to_value(&phases).unwrap(), before);
        let (one, two) = (before["one"].as_f64(), before["two"].as_f64());
        assert!(one.unwrap() <= two.unwrap(), "{before}");
    }
}
