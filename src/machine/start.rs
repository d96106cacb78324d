//! From a QEMU that was just executed to a QMP session with it, and every way in which that can fail,
//! with QEMU's own output.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::Instant;

use super::process::Process;
use super::{EXIT_TIMEOUT, end};
use crate::qmp::client::{Events, Qmp};
use crate::qmp::codec::QmpError;
use crate::text::escape::output_lines;

/// Time limit until QEMU's QMP greeting. QEMU needs 20 to 100 ms; more on a host that swaps or loads
/// it from a network filesystem.
const GREETING_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    #[error("starting {}", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// QEMU rejected its arguments, or could not continue.
    #[error("QEMU ended before the machine started ({}){}", end::describe(*status), quoted(output))]
    Refused { status: ExitStatus, output: String },
    #[error("QEMU died while starting: {}{}", end::describe(*status), quoted(output))]
    Died { status: ExitStatus, output: String },
    #[error("QEMU did not answer within {} s{}", GREETING_DEADLINE.as_secs(), quoted(output))]
    Silent { output: String },
    #[error("{error}{}", quoted(output))]
    Qmp { error: QmpError, output: String },
    /// A header that was changed while QEMU read it can do that.
    #[error("QEMU opened {0:?}, which is none of the images that were checked")]
    Foreign(String),
    /// passt ended, or does not answer.
    #[error("passt, the network of --net internet, did not start: {how}\n{output}")]
    Passt { how: String, output: String },
    /// The server of an image on another host has ended.
    #[error("{url} cannot be read any more")]
    Remote {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("setting up QEMU's channels")]
    Channel(#[from] io::Error),
}

fn quoted(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!("\nQEMU said: {}", output_lines(output))
    }
}

/// Opens the QMP session, unless QEMU exits or stays silent.
pub(super) async fn handshake(
    process: &mut Process,
    socket: UnixStream,
) -> Result<(Qmp, Events), StartError> {
    let opened = tokio::select! {
        biased;
        opened = Qmp::open(socket, end::is_wanted) => opened,
        status = process.wait() => return Err(ended_early(process, status?)),
        () = tokio::time::sleep(GREETING_DEADLINE) => {
            process.kill().await?;
            return Err(StartError::Silent { output: process.tail() });
        }
    };
    match opened {
        Ok(session) => Ok(session),
        Err(QmpError::Closed) => Err(exited_early(process).await),
        Err(error) => {
            process.kill().await?;
            Err(StartError::Qmp {
                error,
                output: process.tail(),
            })
        }
    }
}

/// The error for a closed QMP connection: QEMU has exited or is about to.
pub(super) async fn exited_early(process: &mut Process) -> StartError {
    match process.wait_or_kill(Instant::now() + EXIT_TIMEOUT).await {
        Ok(status) => {
            if end::is_by_signal(status, None) {
                tokio::time::sleep(end::SIGNAL_FOLLOWS).await;
            }
            ended_early(process, status)
        }
        Err(error) => error.into(),
    }
}

fn ended_early(process: &Process, status: ExitStatus) -> StartError {
    let output = process.tail();
    if status.code().is_some() {
        StartError::Refused { status, output }
    } else {
        StartError::Died { status, output }
    }
}
