//! `bivouac chroot`: a command in an image's root filesystem, under the appliance's kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::ValueHint;
use tokio::io::AsyncReadExt;

use super::args::command::CommandArgs;
use super::args::image::InspectionArgs;
use super::inspection::{Inspector, MountedImage};
use super::stdio::{self, HostStdio};
use crate::appliance::boot::ROOT;
use crate::exit::Status;
use crate::launch::appliance_session::ApplianceSession;
use crate::launch::supervisor::Interrupted;
use crate::launch::{Failure, block_on};
use crate::linux::passwd;
use crate::machine::end::End;
use crate::machine::terminal::Terminal;
use crate::protocol::{ByteString, PathAt};

/// Run a command in an image's root filesystem, without booting it
///
/// A small virtual machine, the appliance, mounts the image's root and what its fstab names, and
/// runs the command there as root. What it writes is discarded with the machine.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "bivouac chroot [OPTIONS] IMAGE [-- CMD...]")]
pub struct Args {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// The command; default the image's root shell, on a terminal if there is one
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub run: CommandArgs,
    #[command(flatten)]
    pub options: InspectionArgs,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, inspector: Inspector<'_>) -> Result<Status, Failure> {
    let tty = args.run.tty || args.command.is_empty() && Terminal::is_there();
    // First, because its guard is forked while this process is small and has one thread.
    let stdio = HostStdio::open(tty)?;
    block_on(async {
        let mut appliance = inspector.open(&args.image).await?;
        let result = command(args, &inspector, &mut appliance, stdio).await;
        inspector.close(appliance).await?;
        result
    })
}

async fn command(
    args: &Args,
    inspector: &Inspector<'_>,
    appliance: &mut ApplianceSession,
    stdio: HostStdio,
) -> Result<Status, Failure> {
    let image = inspector.survey(appliance).await?;
    let entering = async {
        image.enter(false, true).await?;
        match args.command.is_empty() {
            true => Ok(vec![shell(&image).await]),
            false => Ok(args.command.clone()),
        }
    };
    let argv = appliance.work(entering).await?;
    let mut command = args.run.context.command(&argv);
    command.root = Some(ByteString(ROOT.into()));
    // As chroot(1) does.
    let workdir = command.workdir.take();
    command.workdir = Some(workdir.unwrap_or_else(|| "/".into()));
    let ended = stdio::run_command(
        &mut appliance.supervisor,
        &mut appliance.machine,
        &image.session,
        command,
        stdio,
        inspector.progress,
    );
    match ended.await {
        Ok(end) => stdio::status(&argv[0], end),
        Err(Interrupted::Ended {
            end: End::UserQuit, ..
        }) => Ok(Status::Success),
        Err(interrupted) => Err(appliance.failed(interrupted)),
    }
}

/// The login shell of the image's root user, or `/bin/sh`.
async fn shell(image: &MountedImage) -> OsString {
    let mut passwd = Vec::new();
    let at = PathAt::new(ROOT, b"/etc/passwd");
    if let Ok((_, stream)) = image.session.read(at, 0, Some(1 << 20)).await {
        // A part of it will do.
        let _ = stream.take(1 << 20).read_to_end(&mut passwd).await;
    }
    let root = passwd::users(&passwd).find(|user| user.name == b"root");
    match root {
        Some(root) if root.shell.starts_with(b"/") => OsStr::from_bytes(root.shell).into(),
        _ => "/bin/sh".into(),
    }
}
