//! A guest that was reset in a machine that cannot start again: QEMU is started anew with its disks.
//!
//! What is saved of a machine that goes on has no firmware in it, which QEMU loads when it is started
//! and never into a machine that is restored. So a branch ends at a reset; its disks, the variables of
//! its firmware, its published ports and the file of its console are those of the machine that boots.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::live::LiveVm;
use crate::machine::Machine;
use crate::machine::plan::{ChildFd, MemoryMapping, SnapshotConfig};
use crate::template::memory;
use crate::template::restore::Template;

impl LiveVm {
    /// Whether it can be reset in its QEMU.
    pub(crate) fn has_firmware(&self) -> bool {
        let template = self.running.template.as_ref();
        !template.is_some_and(Template::devices_only)
    }

    /// Has QEMU stay when the guest asks for a reset, so that [`LiveVm::restart`] follows.
    pub(crate) async fn hold_at_reset(&mut self) -> Result<(), Failure> {
        Ok(self.machine().hold().await?)
    }

    /// Boots the guest, which has asked for a reset, in a QEMU of its own. Returns the host end of
    /// the port of its agent, with which a session can be begun. After an error, or dropped half way,
    /// there is no machine any more.
    pub(crate) async fn restart(&mut self) -> Result<UnixStream, Failure> {
        let vm = &mut self.vm;
        // QEMU writes what it still holds of the overlays' tables: it tells of the reset before it does.
        self.running.machine.pause().await?;
        let stopped = self.running.machine.stop(Duration::ZERO).await;
        stopped.context("ending QEMU, which has the disks")?;
        let stacks = vm.drives.restack();
        vm.plan.put_on(stacks);
        let memory = memory::new(vm.plan.memory_mib).context("the guest's memory")?;
        vm.plan.snapshot = Some(SnapshotConfig {
            memory: ChildFd(memory.as_raw_fd()),
            mapping: MemoryMapping::Boot,
            empty_disks: 0,
            generation_id: true,
            devices_only: false,
        });
        let channels = vm.connect().context("making QEMU's channels")?;
        let sinks = vm.sinks(self.output.clone())?;
        let mut resources = vm.resources(channels, sinks, mpsc::channel(1).1);
        resources.files.push(memory.as_fd());
        let mut machine = Machine::start(&vm.plan, resources).await?;
        vm.drives.check_headers()?;
        machine.cont().await?;
        let port = machine.take_agent();
        self.running.machine = machine;
        port.ok_or_else(|| anyhow!("the machine has no port for an agent").into())
    }
}
