//! When the work with a machine is to end, whatever it has come to. Knows no machine.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::machine::end::End;

#[derive(Clone, Debug)]
pub(super) struct Deadline {
    pub at: Instant,
    pub end: End,
}

impl Deadline {
    pub fn of(option: &'static str, length: Duration) -> Self {
        Self {
            at: Instant::now() + length,
            end: End::TimedOut { option, length },
        }
    }
}

/// What ends the work when its time has come.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pub timeout: Option<Deadline>,
    pub boot_timeout: Option<Deadline>,
    /// While the console of a boot shows that it does not go on.
    pub boot_stop: Option<Deadline>,
}

impl Deadlines {
    /// A QEMU that died after `--timeout` was killed because of it, while this process was stopped.
    pub fn cause_of(&self, end: End) -> End {
        let passed = self.timeout.as_ref().filter(|one| Instant::now() >= one.at);
        match (&end, passed) {
            (End::QemuDied { .. }, Some(timeout)) => timeout.end.clone(),
            _ => end,
        }
    }

    /// Waits for the earliest of the deadlines; for ever if there is none.
    pub async fn passed(&self) -> End {
        let deadlines = [&self.timeout, &self.boot_timeout, &self.boot_stop];
        let earliest = deadlines.into_iter().flatten().min_by_key(|one| one.at);
        match earliest {
            Some(Deadline { at, end }) => {
                sleep_until(*at).await;
                end.clone()
            }
            None => std::future::pending().await,
        }
    }
}
