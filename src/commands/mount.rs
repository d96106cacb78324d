//! `bivouac mount`: an image as a read-only filesystem of this host.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;

use anyhow::Context;
use clap::ValueHint;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::appliance_session::ApplianceSession;
use crate::launch::signals::Signals;
use crate::launch::supervisor::Stopped;
use crate::launch::{Failure, block_on};
use crate::machine::end::End;
use crate::mount::{AtDirectory, MountError, PrivateMount, Requests, Tree, start};

/// Mount an image as a read-only filesystem of this host, for a command or at a directory
///
/// A small virtual machine, the appliance, mounts the image and answers the requests of the host's
/// kernel (FUSE), which never parses the image. Needs no root.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "bivouac mount [OPTIONS] IMAGE DIR\n       bivouac mount [OPTIONS] IMAGE -- CMD..."
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
    /// Only the filesystem on DEVICE, without what the image's fstab mounts in it
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["root", "raw"])]
    pub device: Option<String>,
    /// Disks, partitions and volumes as files, instead of what is on them
    #[arg(long, conflicts_with = "root")]
    pub raw: bool,
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
    let (is_complete, tree) = appliance.work(opened(args, &image)).await?;
    let tree = Rc::new(tree);
    image.session.place_data().await;
    let mut signals = Signals::listen().context("listening for signals")?;
    appliance.supervisor.leave_signals();
    let phases = appliance.phases();
    let work = async {
        match &args.directory {
            Some(directory) => {
                let name = args.image.file_name().unwrap_or_default();
                let mounting = AtDirectory::mount(directory, name).await;
                let (mounted, device) = mounting.map_err(explained)?;
                let requests = start(device).context("the FUSE device")?;
                phases.mark("served");
                inspector.progress.message(&told(directory));
                until_unmounted(requests, &tree, mounted, &mut signals).await
            }
            None => {
                let mut command = PrivateMount::start(&args.command).map_err(explained)?;
                let device = command.device().await.map_err(explained)?;
                let requests = start(device).context("the FUSE device")?;
                phases.mark("served");
                until_ended(requests, &tree, &mut command, &mut signals).await
            }
        }
    };
    match appliance.work(work).await? {
        Status::Success | Status::Guest(0) if !is_complete => Ok(Status::Negative),
        status => Ok(status),
    }
}

/// What is to be mounted, and whether it is all.
async fn opened(args: &Args, image: &MountedImage) -> Result<(bool, Tree), Failure> {
    let session = image.session.clone();
    if args.raw {
        return Ok((true, Tree::of_devices(session, &image.survey).await?));
    }
    let is_complete = match &args.device {
        Some(device) => {
            image.enter_device(device).await?;
            true
        }
        None => image.enter(true, false).await?.is_empty(),
    };
    Ok((is_complete, Tree::new(session, ROOT).await?))
}

fn told(directory: &Path) -> String {
    let directory = directory.display();
    format!("mounted at {directory}; Ctrl-C or `fusermount3 -u {directory}` unmounts it")
}

/// Ctrl-C is a usual end.
async fn until_unmounted(
    mut requests: Requests,
    tree: &Rc<Tree>,
    mounted: AtDirectory,
    signals: &mut Signals,
) -> Result<Status, Failure> {
    tokio::select! {
        () = requests.answer(tree) => {
            mounted.was_unmounted();
            Ok(Status::Success)
        }
        signal = signals.next_ending() => match signal {
            Signal::SIGINT => Ok(Status::Success),
            signal => Err(Stopped(End::Signalled(signal as i32)).into()),
        },
    }
}

/// Ctrl-C is the command's business.
async fn until_ended(
    mut requests: Requests,
    tree: &Rc<Tree>,
    command: &mut PrivateMount,
    signals: &mut Signals,
) -> Result<Status, Failure> {
    let answering = async {
        requests.answer(tree).await;
        std::future::pending().await
    };
    let signalled = async {
        loop {
            match signals.next_ending().await {
                Signal::SIGINT | Signal::SIGQUIT => {}
                signal => return End::Signalled(signal as i32),
            }
        }
    };
    tokio::select! {
        ended = command.wait() => Ok(status(ended.map_err(explained)?)),
        never = answering => never,
        end = signalled => Err(Stopped(end).into()),
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
    let status = match &error {
        MountError::Command(_, source) => match source.raw_os_error() {
            Some(errno) if errno == Errno::ENOENT as i32 => Status::NotFound,
            _ => Status::NotInvocable,
        },
        _ => Status::Failed,
    };
    Failure {
        hint: error.hint().map(str::to_owned),
        status,
        ..anyhow::Error::from(error).into()
    }
}
