//! Decides what to write into an image to have the agent started. Writes nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::root::RootDir;
use super::file_action::FileAction;
use super::{cloud, image_writer, init};
use crate::linux::elf::{MACHINE_LENGTH, Machine};
use crate::protocol::inject::{Injection, Stage};
use crate::protocol::{ErrorStage, RemoteError};

/// Programs with the SELinux label of ordinary programs.
const ORDINARY: [&str; 4] = ["/usr/bin/env", "/usr/bin/ls", "/bin/ls", "/usr/bin/true"];

/// Plans the injection of `program`: what to report once it is done, and the changes in the order
/// of writing. Fails with [`ErrorStage::Inject`] if nothing in the image could start it.
pub(crate) fn plan(
    root: &RootDir,
    program: &File,
    stage: Stage,
) -> Result<(Injection, Vec<FileAction>), RemoteError> {
    let refused = |text| Err(RemoteError::new(ErrorStage::Inject, text));
    let Some(init) = init::find(root) else {
        return refused("no supported init (systemd, OpenRC, sysvinit, BusyBox)");
    };
    let machines = machine_of(root).zip(machine(program));
    if machines.is_some_and(|(image, ours)| image != ours) {
        return refused("its programs are for another CPU architecture");
    }
    let label = ORDINARY
        .iter()
        .find_map(|path| image_writer::label(root, path));
    let labelled = label.is_some();
    let mut actions = vec![FileAction::Program { label }];
    actions.extend(init::actions(root, init, stage));
    let cloud = cloud::actions(root);
    let injection = Injection {
        init,
        labelled,
        cloud_init: !cloud.is_empty(),
        written: actions
            .iter()
            .chain(&cloud)
            .map(|action| action.path().to_owned())
            .collect(),
    };
    actions.extend(cloud);
    Ok((injection, actions))
}

fn machine(program: &File) -> Option<Machine> {
    let mut head = [0; MACHINE_LENGTH];
    program.read_exact_at(&mut head, 0).ok()?;
    Machine::of(&head)
}

fn machine_of(root: &RootDir) -> Option<Machine> {
    ["/sbin/init", "/bin/sh"]
        .iter()
        .find_map(|path| Machine::of(&root.head::<MACHINE_LENGTH>(path)?))
}
