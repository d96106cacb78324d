//! What QEMU does for a checkpoint of a machine that goes on: its disks get new overlays over those
//! that it had, and its devices are saved without the memory.
//!
//! `migrate`, which saves templates, would write all memory of a machine that was restored.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use qapi::qmp::{BlockdevSnapshot, TransactionAction};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{NETWORK_BEHIND_A_HUB, host_forward};
use super::blockdev::{fd_set, overlay_node};
use super::drives::{Drives, NewOverlay};
use super::guest_memory::GuestMemory;
use super::plan::{ChildFd, Publish};
use super::snapshot::{STATE_MAX, SnapshotError};
use super::written_pages::WrittenPages;
use super::{Machine, StartError};
use crate::linux::{memfd, proc_fd};

/// `blockdev-add`. qapi's type has every option of every driver.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct BlockdevAdd(Value);

impl qapi::Command for BlockdevAdd {
    const NAME: &'static str = "blockdev-add";
    const ALLOW_OOB: bool = false;
    type Ok = qapi::Empty;
}

#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct NetdevAdd(Value);

impl qapi::Command for NetdevAdd {
    const NAME: &'static str = "netdev_add";
    const ALLOW_OOB: bool = false;
    type Ok = qapi::Empty;
}

impl Machine {
    /// The file of the guest's memory, if it has one.
    pub fn memory(&self) -> Option<&File> {
        self.memory.as_ref()
    }

    /// Where the guest's writes to its memory are. Fails if this process may not read QEMU's memory.
    pub fn written_pages(&self) -> io::Result<WrittenPages> {
        match (self.id(), &self.memory) {
            (Some(id), Some(memory)) => WrittenPages::of(id, memory),
            (None, _) => Err(io::Error::other("QEMU has exited")),
            (_, None) => Err(io::Error::other("the guest's memory is not a file")),
        }
    }

    /// How to read the guest's memory, as long as the machine exists; `None` if it is not a file.
    pub fn guest_memory(
        &self,
    ) -> Option<impl Fn() -> io::Result<GuestMemory> + Send + Sync + 'static> {
        let id = self.id()?;
        let memory = self.memory.as_ref()?.try_clone().ok()?;
        Some(move || GuestMemory::of(id, &memory))
    }

    /// Opens overlays that the disks of `drives` will get. Nothing is written to them yet.
    pub async fn open_overlays(
        &mut self,
        overlays: &[NewOverlay],
        drives: &Drives,
        extra: &[OsString],
    ) -> Result<(), StartError> {
        for NewOverlay { node, overlay, .. } in overlays {
            self.give_fd_set(overlay.as_fd().try_clone_to_owned()?, overlay.fd())
                .await?;
            let node = overlay_node(node, overlay.fd(), Value::Null);
            self.execute(BlockdevAdd(node)).await?;
        }
        let mut files = drives.files();
        files.extend(overlays.iter().map(|new| new.overlay.as_fd()));
        self.check_nodes(&files, extra).await
    }

    /// Closes what [`Machine::open_overlays`] opened, as far as it did: no disk has got them.
    pub async fn close_overlays(&mut self, overlays: &[NewOverlay]) {
        for NewOverlay { node, overlay, .. } in overlays {
            let node_name = node.clone();
            let _ = self.execute(qapi::qmp::blockdev_del { node_name }).await;
            let _ = self.remove_fd_set(overlay.fd()).await;
        }
    }

    /// From now on the guest writes to these overlays, and what they lie over is complete and no longer
    /// written to. All of them or, after an error, none. The CPUs must be stopped.
    pub async fn put_overlays_on_top(&mut self, overlays: &[NewOverlay]) -> Result<(), StartError> {
        if overlays.is_empty() {
            return Ok(());
        }
        let snapshots = overlays.iter().map(|new| BlockdevSnapshot {
            node: new.below.clone(),
            overlay: new.node.clone(),
        });
        let actions = snapshots.map(TransactionAction::from).collect();
        self.execute(qapi::qmp::transaction {
            properties: None,
            actions,
        })
        .await
        .map(drop)
    }

    /// The state of everything but memory and disks. The CPUs must be stopped.
    pub async fn save_devices(&mut self) -> Result<Vec<u8>, SnapshotError> {
        // QEMU truncates it, which a pipe does not allow.
        let mut file = memfd::create(c"bivouac-state")?;
        let theirs = File::options().write(true).open(proc_fd::path(&file))?;
        let set = ChildFd(file.as_raw_fd());
        self.give_fd_set(theirs.into(), set).await?;
        let saved = self
            .execute(qapi::qmp::xen_save_devices_state {
                live: Some(false),
                filename: fd_set(set),
            })
            .await;
        self.remove_fd_set(set).await?;
        saved?;
        if file.metadata()?.len() > STATE_MAX {
            let too_long = io::Error::new(io::ErrorKind::FileTooLarge, "QEMU's state is too long");
            return Err(too_long.into());
        }
        let mut state = Vec::new();
        file.read_to_end(&mut state)?;
        Ok(state)
    }

    /// Replaces the host's side of the network by a new one, without the leases that were saved with
    /// it: they are of another MAC address. Before the CPUs run.
    pub async fn renew_network(
        &mut self,
        publish: &[Publish],
        restricted: bool,
    ) -> Result<(), StartError> {
        const NEW: &str = "user1";
        self.execute(qapi::qmp::netdev_del {
            id: NETWORK_BEHIND_A_HUB.to_owned(),
        })
        .await?;
        let forwards = publish
            .iter()
            .map(|one| json!({ "str": host_forward(one) }));
        let forwards: Vec<Value> = forwards.collect();
        let user = json!({
            "type": "user", "id": NEW, "restrict": restricted, "hostfwd": forwards,
        });
        self.execute(NetdevAdd(user)).await?;
        let port = json!({ "type": "hubport", "id": "port1", "hubid": 0, "netdev": NEW });
        self.execute(NetdevAdd(port)).await.map(drop)
    }

    async fn remove_fd_set(&mut self, number: ChildFd) -> Result<(), StartError> {
        self.execute(qapi::qmp::remove_fd {
            fd: None,
            fdset_id: number.0.into(),
        })
        .await
        .map(drop)
    }

    /// Gives QEMU a descriptor as the set of this number, which [`fd_set`] names. A set is numbered
    /// after a descriptor of this process, which stays open as long as the set is used.
    async fn give_fd_set(&mut self, given: OwnedFd, number: ChildFd) -> Result<(), StartError> {
        let add = qapi::qmp::add_fd {
            fdset_id: Some(number.0.into()),
            opaque: None,
        };
        self.execute_with(add, Some(given)).await.map(drop)
    }
}
