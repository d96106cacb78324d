//! Named cases that share what is dear, such as a machine: each runs, whatever became of the
//! others, and all that fail are told by their names.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The cases of one test.
#[derive(Default)]
pub struct Cases {
    run: usize,
    failed: Vec<String>,
}

impl Cases {
    /// Runs one. Its own panic message is printed as it happens.
    pub fn case(&mut self, name: &str, check: impl FnOnce()) {
        self.run += 1;
        if catch_unwind(AssertUnwindSafe(check)).is_err() {
            println!("case failed: {name}");
            self.failed.push(name.to_owned());
        }
    }
}

/// Fails with the names of the cases that did.
impl Drop for Cases {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let (run, failed) = (self.run, &self.failed);
            assert!(
                failed.is_empty(),
                "{} of {run} cases failed: {failed:#?}",
                failed.len()
            );
        }
    }
}
