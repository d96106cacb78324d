//! Requests to a running QEMU that change or tell how the machine runs.

use super::{Machine, StartError};

impl Machine {
    pub async fn uses_kvm(&mut self) -> Result<bool, StartError> {
        self.execute(qapi::qmp::query_kvm {})
            .await
            .map(|kvm| kvm.enabled)
    }

    pub async fn cont(&mut self) -> Result<(), StartError> {
        self.execute(qapi::qmp::cont {}).await.map(drop)
    }

    pub async fn pause(&mut self) -> Result<(), StartError> {
        self.execute(qapi::qmp::stop {}).await.map(drop)
    }

    /// From here on a reset by the guest ends the machine.
    pub async fn forbid_reset(&mut self) -> Result<(), StartError> {
        self.set_reset(qapi::qmp::RebootAction::shutdown).await
    }

    /// From here on a reset by the guest starts it again.
    pub async fn allow_reset(&mut self) -> Result<(), StartError> {
        self.set_reset(qapi::qmp::RebootAction::reset).await
    }

    async fn set_reset(&mut self, action: qapi::qmp::RebootAction) -> Result<(), StartError> {
        self.execute(qapi::qmp::set_action {
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
        self.execute(qapi::qmp::set_action {
            reboot: None,
            shutdown: Some(qapi::qmp::ShutdownAction::pause),
            panic: None,
            watchdog: None,
        })
        .await?;
        self.is_held = true;
        Ok(())
    }
}
