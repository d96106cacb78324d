//! The limits that a request sets itself.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::rpc::{DEFAULT_DATA, DEFAULT_ENTRIES, ErrorKind, MAX_DATA, MAX_ENTRIES, RpcError};

/// The longest time of a request: a year.
const MAX_SECONDS: f64 = 31_536_000.0;

/// How long a request may take.
pub(super) fn seconds(timeout: f64) -> Result<Duration, RpcError> {
    match timeout > 0.0 && timeout <= MAX_SECONDS {
        true => Ok(Duration::from_secs_f64(timeout)),
        false => Err(RpcError::invalid_params(
            "timeout is a number of seconds above 0",
        )),
    }
}

/// How many bytes of a stream or of a file the answer holds at most.
pub(super) fn bytes_wanted(limit: Option<u64>) -> Result<u64, RpcError> {
    match limit.unwrap_or(DEFAULT_DATA) {
        limit @ 0..=MAX_DATA => Ok(limit),
        _ => Err(RpcError::new(
            ErrorKind::Limit,
            format!("limit is at most {MAX_DATA} bytes"),
        )),
    }
}

/// How many entries of a directory, or changes, the answer holds at most.
pub(super) fn entries_wanted(limit: Option<usize>) -> Result<usize, RpcError> {
    match limit.unwrap_or(DEFAULT_ENTRIES) {
        limit @ 0..=MAX_ENTRIES => Ok(limit),
        _ => Err(RpcError::new(
            ErrorKind::Limit,
            format!("limit is at most {MAX_ENTRIES} entries"),
        )),
    }
}

/// Waits for some work until the deadline, if there is one. None if it has passed.
pub(super) async fn before<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

pub(super) fn out_of_time() -> RpcError {
    RpcError::new(ErrorKind::TimedOut, "the timeout of the request ran out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_above_zero_and_a_limit_is_bounded() {
        assert_eq!(seconds(0.5), Ok(Duration::from_millis(500)));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes_wanted(None), Ok(1 << 20));
        assert_eq!(bytes_wanted(Some(0)), Ok(0));
        let error = bytes_wanted(Some(MAX_DATA + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}
