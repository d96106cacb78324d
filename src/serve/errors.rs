//! Errors of the other parts of bivouac, as those of the protocol.

use nix::errno::Errno;

use crate::exit::Status;
use crate::launch::Failure;
use crate::protocol::RemoteError;
use crate::rpc::{ErrorKind, RpcError};
use crate::session::SessionError;

/// The error for a request that failed.
pub(super) fn of_failure(failure: &Failure) -> RpcError {
    if let Some(SessionError::Refused(refused)) = failure.error.downcast_ref() {
        return RpcError {
            message: format!("{:#}", failure.error),
            ..of_refusal(refused)
        };
    }
    if let Some(error) = failure.error.downcast_ref::<SessionError>() {
        return of_session(error);
    }
    let kind = match failure.status {
        Status::GuestCrashed | Status::QemuDied => ErrorKind::MachineEnded,
        Status::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Failed,
    };
    let error = RpcError::new(kind, format!("{:#}", failure.error));
    match &failure.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The error for a request that the session with the agent did not do.
pub(super) fn of_session(error: &SessionError) -> RpcError {
    match error {
        SessionError::Refused(refused) => of_refusal(refused),
        SessionError::Rebooted | SessionError::Reverted => {
            RpcError::new(ErrorKind::Interrupted, error.to_string())
        }
        _ => RpcError::new(ErrorKind::MachineEnded, error.to_string()),
    }
}

fn of_refusal(refused: &RemoteError) -> RpcError {
    let mut error = RpcError::new(ErrorKind::Refused, refused.to_string());
    error.data.errno = refused.errno.map(name_of);
    error
}

/// `ENOENT`
pub(super) fn name_of(errno: i32) -> String {
    format!("{:?}", Errno::from_raw(errno))
}
