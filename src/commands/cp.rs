//! `bivouac cp`: copies files and trees out of an image.
//!
//! [`destination`](super::destination) says where they go; [`tar_transfer`] creates them there, and
//! never outside.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::anyhow;
use clap::ValueHint;

use super::args::copy::CopyLimit;
use super::args::image::InspectionArgs;
use super::destination::Destination;
use super::glob;
use super::image_path::{ImagePath, exists};
use super::inspection::{Inspector, MountedImage};
use super::stdout_sink::StdoutSink;
use super::{stdout_sink, tar_transfer};
use crate::appliance::boot::ROOT;
use crate::archive::Policy;
use crate::exit::Status;
use crate::launch::Failure;
use crate::protocol::{ByteString, FileKind, PathAt, TarOptions};
use crate::session::{Session, SessionError};

/// Copy files and trees out of an image, without booting it
///
/// Modes, times, user extended attributes, symbolic and hard links and holes are kept. Exits with 1
/// if something could not be copied.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "bivouac cp [OPTIONS] IMAGE:PATH... DEST")]
pub struct Args {
    /// An image and a file or directory in it
    #[arg(value_name = "IMAGE:PATH", required = true)]
    pub sources: Vec<OsString>,
    /// A directory on this host or a new name; `-` for a tar stream on standard output
    #[arg(value_name = "DEST", required = true, value_hint = ValueHint::AnyPath)]
    pub dest: OsString,
    /// Keep owners, set-id bits, devices and system attributes too; needs root
    #[arg(long, short)]
    pub archive: bool,
    /// Copy IMAGE:PATH itself if it is a symbolic link, not its target
    #[arg(long, short = 'P')]
    pub no_dereference: bool,
    /// Skip filesystems that are mounted below
    #[arg(long, short = 'x')]
    pub one_file_system: bool,
    #[command(flatten)]
    limit: CopyLimit,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// The most links that are followed one after the other (path_resolution(7)).
const LINKS: usize = 40;

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let sources = args.sources.iter();
    let sources = sources.map(|words| ImagePath::parse_named(words, exists));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let is_stream = args.dest == OsStr::new("-");
    let dest = check(args, &sources, is_stream)?;
    let left = args.limit.left();
    let progress = inspector.progress;
    stdout_sink::run(async |output| {
        if is_stream && output.lock().await.is_terminal() {
            return Err(Failure::with_hint(
                anyhow!("refusing to write a tar stream to a terminal"),
                "bivouac cp IMAGE:PATH - | tar -t",
            ));
        }
        let copying = inspector.with_roots(
            sources,
            output,
            true,
            async |image, (_, sources), output| {
                let sources = &glob::expand(&image.session, sources).await?;
                if sources.len() > 1 {
                    let dest = dest.as_ref().ok_or_else(only_one)?;
                    dest.must_hold_several()?;
                }
                image.session.place_data().await;
                let mut complete = true;
                for source in sources {
                    let copied = match &dest {
                        None => stream(image, source, args, output).await,
                        Some(dest) => {
                            let path = source.path.escape_ascii();
                            progress.status(&format!("copying {path}"));
                            copy(image, source, args, (dest, &left)).await
                        }
                    };
                    progress.clear_status();
                    match copied {
                        Err(failure)
                            if failure.error.is::<Incomplete>() || image.is_of_a_file(&failure) =>
                        {
                            tracing::error!("{:#}", failure.error);
                            complete = false;
                        }
                        result => result?,
                    }
                }
                Ok(complete)
            },
        );
        copying.await
    })
}

/// Checks what can be checked before a machine is started, and opens the destination.
fn check(
    args: &Args,
    sources: &[ImagePath],
    is_stream: bool,
) -> Result<Option<Destination>, Failure> {
    if is_stream && sources.len() > 1 {
        return Err(only_one());
    }
    if is_stream {
        return Ok(None);
    }
    let mut dest = Destination::open(Path::new(&args.dest))?;
    if sources.len() > 1 {
        dest = dest.for_several()?;
    }
    for source in sources {
        dest.target(source.name())?;
    }
    Ok(Some(dest))
}

fn only_one() -> Failure {
    Failure::with_hint(
        anyhow!("only one file or tree can be written as a tar stream"),
        "one IMAGE:PATH, such as the directory that holds both",
    )
}

#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Incomplete(anyhow::Error);

async fn copy(
    image: &MountedImage,
    source: &ImagePath,
    args: &Args,
    (dest, left): (&Destination, &Cell<u64>),
) -> Result<(), Failure> {
    let to = dest.target(source.name())?;
    let (at, options) = wanted(&image.session, source, &to.name, args).await?;
    let policy = Policy {
        owners: args.archive,
        privileges: args.archive,
        umask: tar_transfer::umask(),
        max_bytes: Some(left.get()),
        only: to.only(),
    };
    let fetched = tar_transfer::fetch(&image.session, at, options, to.directory, policy).await?;
    left.set(left.get() - fetched.extracted.bytes);
    let what = source.path.escape_ascii().to_string();
    match fetched.complete(&what) {
        Ok(_) => Ok(()),
        // `MountedImage::is_of_a_file` decides by its type.
        Err(failure) if failure.error.is::<SessionError>() => Err(failure),
        Err(failure) => Err(anyhow::Error::from(Incomplete(failure.error)).into()),
    }
}

/// Writes one file or tree to standard output as a tar stream.
async fn stream(
    image: &MountedImage,
    source: &ImagePath,
    args: &Args,
    output: &mut StdoutSink,
) -> Result<(), Failure> {
    let name = source.name().unwrap_or(b".");
    let (at, options) = wanted(&image.session, source, name, args).await?;
    let stream = image.session.tar_out(at, options).await?;
    output.copy(stream).await
}

/// What to request from the agent. Symbolic links are followed, as scp does, unless they are to be
/// copied themselves.
async fn wanted(
    session: &Session,
    source: &ImagePath,
    name: &[u8],
    args: &Args,
) -> Result<(PathAt, TarOptions), SessionError> {
    let mut at = PathAt::new(ROOT, &source.path);
    for _ in 0..LINKS {
        let stat = session.stat(at.clone(), false).await?;
        if args.no_dereference || stat.kind != FileKind::Link {
            break;
        }
        let target = session.read_link(at.clone()).await?;
        at.path = ByteString(target_of(&at.path.0, &target.0));
    }
    let options = TarOptions {
        one_file_system: args.one_file_system,
        owners: false,
        name: Some(ByteString(name.to_vec())),
    };
    Ok((at, options))
}

/// The target of a link at `path`. `..` is left to the guest's kernel to resolve.
fn target_of(path: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") {
        return target.to_vec();
    }
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let directory = slash.map_or(&b"/"[..], |at| &path[..=at]);
    [directory, target].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_on_from_its_directory() {
        let led = |path: &str, target: &str| {
            let led = target_of(path.as_bytes(), target.as_bytes());
            String::from_utf8(led).unwrap()
        };
        assert_eq!(
            led("/etc/os-release", "../usr/lib/os-release"),
            "/etc/../usr/lib/os-release"
        );
        assert_eq!(led("/bin", "usr/bin"), "/usr/bin");
        assert_eq!(led("/etc/mtab", "/proc/mounts"), "/proc/mounts");
    }
}
