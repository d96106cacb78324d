//! `bivouac chroot`: a command in an image's root filesystem, under the appliance's kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::ValueHint;
use tokio::io::AsyncReadExt;

use super::exec::{self, CommandArgs, Ended, Streams};
use super::inside::{self, Camp, Inside};
use super::{Failure, Voice};
use crate::exit::Status;
use crate::guest::boot::ROOT;
use crate::guest::wire::{ByteString, PathAt};
use crate::linux::passwd;
use crate::machine::end::End;
use crate::machine::terminal::Terminal;

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
    /// How the command is run.
    #[command(flatten)]
    pub run: CommandArgs,
    /// How the image is opened.
    #[command(flatten)]
    pub options: inside::Options,
}

/// Must be called on the main thread, before any other is started.
pub fn run(args: &Args, voice: &dyn Voice) -> Result<Status, Failure> {
    let tty = args.run.tty || args.command.is_empty() && Terminal::is_there();
    // First, because its guard is forked while this process is small and has one thread.
    let streams = Streams::open(tty)?;
    inside::block_on(async {
        let mut camp = Camp::pitch(&args.options, &args.image, voice).await?;
        let result = run_in(args, &mut camp, streams, voice).await;
        camp.strike().await?;
        result
    })
}

async fn run_in(
    args: &Args,
    camp: &mut Camp,
    streams: Streams,
    voice: &dyn Voice,
) -> Result<Status, Failure> {
    let inside = camp.inside(&args.options).await?;
    let entering = async {
        inside.enter(false, true).await?;
        match args.command.is_empty() {
            true => Ok(vec![shell(&inside).await]),
            false => Ok(args.command.clone()),
        }
    };
    let argv = camp.work(entering).await?;
    let mut command = args.run.command(&argv);
    command.root = Some(ByteString(ROOT.into()));
    // As chroot(1) does.
    let workdir = command.workdir.take();
    command.workdir = Some(workdir.unwrap_or_else(|| "/".into()));
    let (watch, machine) = (&mut camp.watch, &mut camp.machine);
    let ended = exec::conduct(watch, machine, &inside.session, command, streams, voice).await?;
    match ended {
        Ended::Command(end) => exec::status(&argv[0], end),
        Ended::Machine(End::Left) => Ok(Status::Success),
        Ended::Machine(end) => Err(camp.cut_short(&end)),
    }
}

/// The login shell of the image's root user, or `/bin/sh`.
async fn shell(inside: &Inside) -> OsString {
    let mut passwd = Vec::new();
    let at = PathAt {
        root: ByteString(ROOT.into()),
        path: "/etc/passwd".into(),
    };
    if let Ok((_, stream)) = inside.session.read(at, 0, Some(1 << 20)).await {
        // A part of it will do.
        let _ = stream.take(1 << 20).read_to_end(&mut passwd).await;
    }
    let root = passwd::users(&passwd).find(|user| user.name == b"root");
    match root {
        Some(root) if root.shell.starts_with(b"/") => OsStr::from_bytes(root.shell).into(),
        _ => "/bin/sh".into(),
    }
}
