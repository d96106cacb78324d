//! What QEMU does when the guest resets the machine or ends it.

use qapi::qmp::{RebootAction, ShutdownAction, set_action};

use super::{Machine, StartError};

impl Machine {
    /// From here on a reset by the guest ends the machine.
    pub async fn forbid_reset(&mut self) -> Result<(), StartError> {
        self.set_reset(RebootAction::shutdown).await
    }

    /// From here on a reset by the guest starts it again.
    pub async fn allow_reset(&mut self) -> Result<(), StartError> {
        self.set_reset(RebootAction::reset).await
    }

    async fn set_reset(&mut self, action: RebootAction) -> Result<(), StartError> {
        self.execute(set_action {
            reboot: Some(action),
            shutdown: None,
            panic: None,
            watchdog: None,
        })
        .await
        .map(drop)
    }

    /// From here on QEMU stays when the guest powers off, resets or panics, with its disks as they are
    /// then, until [`Machine::stop`].
    pub async fn hold(&mut self) -> Result<(), StartError> {
        self.execute(set_action {
            reboot: None,
            shutdown: Some(ShutdownAction::pause),
            panic: None,
            watchdog: None,
        })
        .await?;
        self.is_held = true;
        Ok(())
    }
}
