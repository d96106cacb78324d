//! Progress messages while a machine is started.

/// Receives what is said while a machine is started; results and errors are returned instead.
pub trait Progress {
    /// One line, replaced by the next.
    fn status(&self, text: &str);
    /// Removes that line.
    fn clear_status(&self);
    /// Lines that stay.
    fn message(&self, text: &str);
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn status(&self, _: &str) {}
    fn clear_status(&self) {}
    fn message(&self, _: &str) {}
}
