//! Files that go into a guest before its command, and come out of it afterwards.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::archive::{BeneathDir, Policy};
use crate::commands::args::agent::CopySpec;
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

/// Copies each out of the guest in the same way. Everything belongs to the user here. All are
/// tried; the error is that of the first that fails.
pub(super) async fn all_out(session: &Session, copies: &[CopySpec]) -> Result<(), Failure> {
    let mut result = Ok(());
    for CopySpec { source, target } in copies {
        let copied = one_out(session, source, Path::new(target)).await;
        result = result.and(copied);
    }
    result
}

async fn one_out(session: &Session, source: &OsStr, target: &Path) -> Result<(), Failure> {
    let what = ByteString::from(source);
    let ends_in_slash = target.as_os_str().as_bytes().ends_with(b"/");
    let (directory, name) = match target.is_dir() || ends_in_slash {
        true => (target, Path::new(source).file_name()),
        false => (
            target.parent().unwrap_or(Path::new("/")),
            target.file_name(),
        ),
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let Some(name) = name else {
        let error = anyhow!("--copy-out {what}: it has no name to be copied under");
        return Err(Failure::with_hint(error, "a name at the end of the target"));
    };
    let place = BeneathDir::at(directory)
        .with_context(|| format!("--copy-out {what}: {}", directory.display()))?;
    let options = TarOptions {
        name: Some(name.into()),
        ..TarOptions::default()
    };
    let policy = Policy {
        only: Some(name.as_bytes().to_vec()),
        ..Policy::default()
    };
    let fetched = tar_transfer::fetch(session, at(source), options, place, policy).await;
    let fetched = fetched.map_err(|failure| failure.context(format!("--copy-out {what}")))?;
    fetched.complete(&what.to_string()).map(drop)
}
