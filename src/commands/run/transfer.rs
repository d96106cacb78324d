//! Files that come out of a guest after its command.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;

use crate::archive::Policy;
use crate::commands::args::copy::CopyLimit;
use crate::commands::destination::Destination;
use crate::commands::tar_transfer;
use crate::launch::Failure;
use crate::launch::send_tree::at;
use crate::launch::spec::CopySpec;
use crate::protocol::{ByteString, TarOptions};
use crate::session::Session;

/// Where the copies out of the guest go, opened before the first: what that creates leads no later
/// one elsewhere.
pub(in crate::commands) fn destinations(copies: &[CopySpec]) -> Result<Vec<Destination>, Failure> {
    let open = |copy: &CopySpec| {
        let opened = Destination::open_one_of(Path::new(&copy.target));
        opened.map_err(|error| Failure::from(error).context(copy_out(&copy.source)))
    };
    copies.iter().map(open).collect()
}

/// Copies each out of the guest in the same way. Everything belongs to the user here. All are
/// tried; the error is that of the first that fails.
pub(in crate::commands) async fn all_out(
    session: &Session,
    copies: &[CopySpec],
    destinations: &[Destination],
    limit: &CopyLimit,
) -> Result<(), Failure> {
    let left = limit.left();
    let mut result = Ok(());
    for (CopySpec { source, .. }, destination) in copies.iter().zip(destinations) {
        let copied = one_out(session, source, destination, &left).await;
        result = result.and(copied.map_err(|failure| failure.context(copy_out(source))));
    }
    result
}

fn copy_out(source: &OsStr) -> String {
    format!("--copy-out {}", ByteString::from(source))
}

async fn one_out(
    session: &Session,
    source: &OsStr,
    to: &Destination,
    left: &Cell<u64>,
) -> Result<(), Failure> {
    let target = to.target(Path::new(source).file_name().map(OsStr::as_bytes))?;
    let Some(only) = target.only() else {
        let error = anyhow!("it has no name to be copied under");
        return Err(Failure::with_hint(error, "a name at the end of the target"));
    };
    let options = TarOptions {
        name: Some(ByteString(target.name)),
        ..TarOptions::default()
    };
    let policy = Policy {
        umask: tar_transfer::umask(),
        max_bytes: Some(left.get()),
        only: Some(only),
        ..Policy::default()
    };
    let fetched = tar_transfer::fetch(session, at(source), options, target.directory, policy);
    let fetched = fetched.await?;
    left.set(left.get() - fetched.extracted.bytes);
    fetched.complete(&ByteString::from(source).to_string())?;
    Ok(())
}
