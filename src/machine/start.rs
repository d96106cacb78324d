//! From a QEMU that was just executed to a session with it, and every way in which that can
//! fail, with QEMU's own words.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::Instant;

use super::process::Process;
use super::{EXIT_PATIENCE, end};
use crate::qmp::client::{Events, Qmp};
use crate::qmp::codec::QmpError;

/// How long QEMU may take to its QMP greeting. It needs 20 to 100 ms; a host that swaps or
/// loads QEMU from a network file system needs longer.
const GREETING_DEADLINE: Duration = Duration::from_secs(60);

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be run at all.
    #[error("starting {}", program.display())]
    Spawn {
        /// QEMU's path.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// QEMU refused its arguments, or could not go on.
    #[error("QEMU ended before the machine started ({}){}", end::describe(*status), quoted(output))]
    Refused {
        /// Its exit status.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// QEMU was killed, or crashed.
    #[error("QEMU died while starting: {}{}", end::describe(*status), quoted(output))]
    Died {
        /// Its exit status.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// No greeting within the deadline.
    #[error("QEMU did not answer within {} s{}", GREETING_DEADLINE.as_secs(), quoted(output))]
    Silent {
        /// What it printed.
        output: String,
    },
    /// The conversation failed.
    #[error("{error}{}", quoted(output))]
    Qmp {
        /// What went wrong.
        error: QmpError,
        /// What QEMU printed.
        output: String,
    },
    /// Something of ours.
    #[error("setting up QEMU's channels")]
    Channel(#[from] io::Error),
}

fn quoted(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!("\nQEMU said: {output}")
    }
}

/// Waits for the greeting and negotiates, unless QEMU ends or stays silent.
pub(super) async fn handshake(
    process: &mut Process,
    socket: UnixStream,
) -> Result<(Qmp, Events), StartError> {
    let opened = tokio::select! {
        biased;
        opened = Qmp::open(socket) => opened,
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

/// QMP was closed: QEMU has ended or is about to.
pub(super) async fn exited_early(process: &mut Process) -> StartError {
    match process.wait_or_kill(Instant::now() + EXIT_PATIENCE).await {
        Ok(status) => ended_early(process, status),
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
