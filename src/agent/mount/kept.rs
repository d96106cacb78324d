//! What the agent of an appliance keeps that is saved with an image in it: its answers about the disks.
//! Each clone has them without looking at the disks again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{filesystem, ops};
use crate::protocol::{ByteString, Operation, RemoteError, Response};

struct Kept {
    survey: Response,
    /// The mount that was made last, and the answer to it.
    mounted: Option<(Operation, Response)>,
}

/// Nothing until a survey is to be kept.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`ops::survey`], and after that the same answer.
pub(crate) fn survey(disks: usize) -> Response {
    let mut kept = kept();
    let first = || Kept {
        survey: ops::survey(disks),
        mounted: None,
    };
    kept.get_or_insert_with(first).survey.clone()
}

/// Answers a `Mount` by `mount`. If answers are kept, what is mounted already is not mounted again, and
/// another mount takes its place.
pub(crate) fn mount(
    wanted: &Operation,
    mount: impl FnOnce() -> Result<Response, RemoteError>,
) -> Result<Response, RemoteError> {
    let mut kept = kept();
    let Some(kept) = &mut *kept else {
        return mount();
    };
    if let Some((mounted, answer)) = &kept.mounted {
        if mounted == wanted {
            return Ok(answer.clone());
        }
        if let (Operation::Mount { at: one, .. }, Operation::Mount { at: other, .. }) =
            (mounted, wanted)
            && one == other
        {
            filesystem::unmount(one.as_path());
            kept.mounted = None;
        }
    }
    let answer = mount()?;
    if kept.mounted.is_none() {
        kept.mounted = Some((wanted.clone(), answer.clone()));
    }
    Ok(answer)
}

/// Unmounts what is at a directory.
pub(crate) fn unmount(at: &ByteString) {
    filesystem::unmount(at.as_path());
    if let Some(kept) = &mut *kept()
        && let Some((Operation::Mount { at: mounted, .. }, _)) = &kept.mounted
        && mounted == at
    {
        kept.mounted = None;
    }
}
