//! What is kept of a case that failed, and the directories of cases.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;

use anyhow::Context;

use crate::launch::Failure;
use crate::launch::branch::Branch;
use crate::launch::keep::{Keep, KeepSpec};
use crate::linux::memfd;
use crate::machine::console_log::ConsoleLog;

/// How much of a console is kept.
const CONSOLE_MAX: u64 = 16 << 20;

/// A file in memory for a console, for this process to read and for the machine to write.
pub(super) fn console() -> Result<(File, ConsoleLog), Failure> {
    let make = || {
        let file = memfd::create(c"bivouac-console")?;
        let log = ConsoleLog::new(file.try_clone()?, CONSOLE_MAX);
        Ok::<_, io::Error>((file, log))
    };
    Ok(make().context("a file for the console")?)
}

/// Writes the output and the console into `directory`.
pub(super) fn failed(directory: &Path, output: &[u8], mut console: &File) -> Result<(), Failure> {
    make_directory(directory)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    write("output", output)?;
    let mut bytes = Vec::new();
    let read = console
        .rewind()
        .and_then(|()| console.read_to_end(&mut bytes));
    read.context("reading the console")?;
    Ok(write("console", &bytes)?)
}

/// Keeps what the machine of a case has on its disks as images in `directory`. It goes on.
pub(super) async fn disks(directory: &Path, branch: &mut Branch<'_>) -> Result<(), Failure> {
    let Branch { launch, running } = branch;
    let count = launch.vm.plan.disks.len();
    if count == 0 {
        return Ok(());
    }
    make_directory(directory)?;
    let spec = KeepSpec {
        path: directory.join("disk.qcow2"),
        full: false,
        force: true,
    };
    let mut keep = Keep::create(&spec, &launch.vm.drives, count)?;
    let (machine, session) = (&mut running.machine, &running.session);
    let synced = launch.settle(machine, Some(session)).await;
    synced.map_err(|interrupted| launch.failed(interrupted))?;
    keep.collect(machine, &launch.vm.drives).await?;
    keep.publish(&launch.vm.drives).await?;
    Ok(machine.cont().await?)
}

pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    Ok(fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?)
}
