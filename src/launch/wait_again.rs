//! A guest that reboots and stays in use: its agent is waited for again.

use std::time::Duration;

use tokio::net::UnixStream;

use super::spec::WaitFor;
use super::supervisor::{Interrupted, Supervisor};
use super::wait_agent::{EMULATED_BOOT, MARGIN, idle};
use crate::machine::Machine;
use crate::machine::boot_stop::EMERGENCY;
use crate::machine::end::End;
use crate::session::{Session, SessionError};

/// Waits for the agent of a guest that was reset. `port` is the stream of the session with it until
/// then (`Session::close`).
pub(crate) async fn wait_again(
    machine: &mut Machine,
    port: UnixStream,
    wait_for: WaitFor,
    limit: Option<Duration>,
) -> Result<Session, Interrupted> {
    let limit = limit.unwrap_or(EMULATED_BOOT);
    let connecting = async {
        let session = Session::connect(port, limit + MARGIN).await?;
        if wait_for == WaitFor::Running && !session.is_emergency() {
            idle(&session).await?;
        }
        Ok::<_, SessionError>(session)
    };
    let mut supervisor = Supervisor::of_one_machine();
    match supervisor.run_boot(machine, limit, connecting).await? {
        Ok(session) if session.is_emergency() => {
            Err(Interrupted::ended(End::BootFailed(&EMERGENCY), machine))
        }
        Ok(session) => Ok(session),
        Err(error) => Err(supervisor.explain(machine, error.into()).await),
    }
}
