//! Files that go into a guest before its command, and come out of it afterwards.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::archive::Policy;
use crate::commands::args::agent::CopySpec;
use crate::commands::args::copy::CopyLimit;
use crate::commands::destination::Destination;
use crate::commands::tar_transfer;
use crate::launch::Failure;
use crate::protocol::{ByteString, FileKind, PathAt, TarOptions};
use crate::session::Session;

fn at(path: &OsStr) -> PathAt {
    PathAt::new("/", path.as_bytes())
}

/// Copies each into the guest, as `cp -r` would: into an existing directory, or else under the name
/// of the target. Everything belongs to root there.
pub(super) async fn all_in(session: &Session, copies: &[CopySpec]) -> Result<(), Failure> {
    for CopySpec { source, target } in copies {
        let source = PathBuf::from(source);
        let mut name = target.as_bytes().to_vec();
        let stat = session.stat(at(target), true).await;
        if name.ends_with(b"/") || stat.is_ok_and(|stat| stat.kind == FileKind::Directory) {
            let own = source.canonicalize();
            let own = own.with_context(|| format!("--copy-in {}", source.display()))?;
            let own = own.file_name().unwrap_or(OsStr::new("."));
            name.push(b'/');
            name.extend_from_slice(own.as_bytes());
        }
        let options = TarOptions::default();
        tar_transfer::send(session, source, at(OsStr::new("/")), name, options).await?;
    }
    Ok(())
}

/// Where the copies out of the guest go, opened before the first: what that creates leads no later
/// one elsewhere.
pub(super) fn destinations(copies: &[CopySpec]) -> Result<Vec<Destination>, Failure> {
    let open = |copy: &CopySpec| {
        let opened = Destination::open_one_of(Path::new(&copy.target));
        opened.map_err(|error| Failure::from(error).context(copy_out(&copy.source)))
    };
    copies.iter().map(open).collect()
}

/// Copies each out of the guest in the same way. Everything belongs to the user here. All are
/// tried; the error is that of the first that fails.
pub(super) async fn all_out(
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
