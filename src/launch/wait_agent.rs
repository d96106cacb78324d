//! Waits until the agent of a guest that boots is ready.

use std::time::Duration;

use anyhow::anyhow;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::failure::Failure;
use super::start::Launch;
use super::supervisor::Interrupted;
use crate::machine::Machine;
use crate::machine::boot_stop::EMERGENCY;
use crate::machine::end::End;
use crate::session::{Command, Session, SessionError};

/// How long a guest may take to boot by default: with KVM a minute is much, and an emulated guest
/// takes ten times that and more.
const BOOT: Duration = Duration::from_secs(300);
pub(super) const EMULATED_BOOT: Duration = Duration::from_secs(1800);

/// By how much the session's own limit is longer, so that the supervisor's counts.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// How often systemd is asked whether it is done.
const POLL: Duration = Duration::from_millis(500);

impl Launch<'_> {
    fn boot_limit(&self) -> Duration {
        let default = match self.facts.accelerator.used {
            Some("tcg") => EMULATED_BOOT,
            _ => BOOT,
        };
        self.spec.boot_timeout.unwrap_or(default)
    }

    /// Waits for bivouac's own agent, and with `until_idle` until the guest's init starts nothing
    /// more.
    pub async fn wait_for_agent(
        &mut self,
        machine: &mut Machine,
        until_idle: bool,
    ) -> Result<Session, Interrupted> {
        let limit = self.boot_limit() + MARGIN;
        let session = self.wait_ready(machine, async |port| {
            let session = Session::connect(port, limit).await?;
            if until_idle && !session.is_emergency() {
                idle(&session).await?;
            }
            Ok::<_, SessionError>(session)
        });
        match session.await? {
            session if session.is_emergency() => {
                Err(Interrupted::ended(End::BootFailed(&EMERGENCY), machine))
            }
            session => Ok(session),
        }
    }

    pub async fn wait_ready<T, E: Into<Failure>>(
        &mut self,
        machine: &mut Machine,
        connect: impl AsyncFnOnce(UnixStream) -> Result<T, E>,
    ) -> Result<T, Interrupted> {
        let limit = self.boot_limit();
        let Some(port) = machine.take_agent() else {
            return Err(anyhow!("the machine has no port for an agent").into());
        };
        let connected = self.supervisor.run_boot(machine, limit, connect(port));
        let agent = match connected.await? {
            Ok(agent) => agent,
            Err(error) => return Err(self.supervisor.explain(machine, error.into()).await),
        };
        // The boot may have needed a reset; now it is the end.
        if self.vm.plan.reboot {
            machine.forbid_reset().await?;
        }
        self.facts.phases.mark("ready");
        Ok(agent)
    }
}

/// Waits until systemd has nothing more to start; other inits do not say.
pub(super) async fn idle(session: &Session) -> Result<(), SessionError> {
    loop {
        let command = Command {
            argv: ["systemctl", "is-system-running"].map(Into::into).into(),
            ..Command::default()
        };
        let mut exec = session.exec(command).await?;
        exec.stdin = None;
        let mut state = Vec::new();
        if let Some(stdout) = exec.stdout.take() {
            // An answer that is cut off comes again.
            let _ = stdout.take(100).read_to_end(&mut state).await;
        }
        exec.wait().await?;
        match state.trim_ascii() {
            b"initializing" | b"starting" => tokio::time::sleep(POLL).await,
            _ => return Ok(()),
        }
    }
}
