//! `bivouac mount`: an image as a read-only filesystem of this host.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;

use anyhow::Context;
use clap::ValueHint;

use super::args::image::InspectionArgs;
use super::inspection::Inspector;
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::appliance_session::ApplianceSession;
use crate::launch::{Failure, block_on};
use crate::mount::host::{self, AtDirectory, MountError};
use crate::mount::{Requests, Tree, start};

/// Mount an image as a read-only filesystem of this host, for a command or at a directory
///
/// A small virtual machine, the appliance, mounts the image and answers the kernel's requests (FUSE), so
/// that the host's kernel never parses the image. Needs no root.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "bivouac mount [OPTIONS] IMAGE DIR\n       bivouac mount [OPTIONS] IMAGE -- CMD [ARG|{}]..."
)]
pub struct Args {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// The directory; mounted until Ctrl-C or `fusermount3 -u DIR`
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "command", conflicts_with = "command")]
    pub directory: Option<PathBuf>,
    /// A command for which alone it is mounted, at `$BIVOUAC_MOUNT`, which `{}` stands for
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Must be called on the main thread.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    block_on(async {
        let mut appliance = inspector.open(&args.image).await?;
        let result = mount(args, &inspector, &mut appliance).await;
        inspector.close(appliance).await?;
        result
    })
}

async fn mount(
    args: &Args,
    inspector: &Inspector<'_>,
    appliance: &mut ApplianceSession,
) -> Result<Status, Failure> {
    let image = inspector.survey(appliance).await?;
    let entering = async {
        let missing = image.enter(true, false).await?;
        Ok((missing, Tree::new(image.session.clone(), ROOT).await?))
    };
    let (missing, tree) = appliance.work(entering).await?;
    let tree = Rc::new(tree);
    let status = match &args.directory {
        Some(directory) => {
            let name = args.image.file_name().unwrap_or_default();
            let (mounted, device) = AtDirectory::mount(directory, name).map_err(explained)?;
            let mut requests = start(device).context("the FUSE device")?;
            tracing::info!("mounted at {}", directory.display());
            let answering = async {
                requests.answer(&tree).await;
                Ok(Status::Success)
            };
            let ended = appliance.work(answering).await;
            mounted.end().await;
            ended?
        }
        None => {
            let (mut child, device) = host::start_command(&args.command).map_err(explained)?;
            let mut requests = start(device).context("the FUSE device")?;
            let running = async {
                let ended = answer_until(&mut requests, &tree, child.wait()).await;
                Ok(status(ended.context("waiting for the command")?))
            };
            appliance.work(running).await?
        }
    };
    match status {
        Status::Success if !missing.is_empty() => Ok(Status::Negative),
        status => Ok(status),
    }
}

/// Answers until `work` is done.
async fn answer_until<T>(
    requests: &mut Requests,
    tree: &Rc<Tree>,
    work: impl Future<Output = T>,
) -> T {
    let answering = async {
        requests.answer(tree).await;
        std::future::pending().await
    };
    tokio::select! {
        done = work => done,
        never = answering => never,
    }
}

/// As a shell has it.
fn status(ended: ExitStatus) -> Status {
    match (ended.code(), ended.signal()) {
        (Some(code), _) => Status::Guest(code as u8),
        (None, signal) => Status::Guest(128 + signal.unwrap_or(0) as u8),
    }
}

fn explained(error: MountError) -> Failure {
    let hint = match &error {
        MountError::NoHelper(source) if source.kind() == io::ErrorKind::NotFound => {
            Some("apt install fuse3")
        }
        MountError::Command(_, source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Some("user namespaces or /dev/fuse may be forbidden here; mount at a directory instead")
        }
        _ => None,
    };
    let status = match &error {
        MountError::Command(_, source) => match source.kind() {
            io::ErrorKind::NotFound => Status::NotFound,
            _ => Status::NotInvocable,
        },
        _ => Status::Failed,
    };
    Failure {
        hint: hint.map(str::to_owned),
        status,
        ..anyhow::Error::from(error).into()
    }
}
