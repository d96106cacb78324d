//! Saves a machine and restores it. The memory is a file that QEMU maps. The rest of the state, about
//! 300 kB, passes through a socket in QEMU's migration format, so that it needs no file name and can
//! be verified before it is loaded.

use std::io;
use std::time::Duration;

use qapi::qmp::{
    Event, MigrationCapability, MigrationCapabilityStatus, MigrationInfo, MigrationStatus,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::args::NETWORK_BEHIND_A_HUB;
use super::{Machine, StartError};
use crate::text::escape::Untrusted;

/// QEMU's name for the socket.
const CHANNEL: &str = "state";

/// Time limit of saving and restoring: a host may swap, or read from a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

/// The largest state accepted, in bytes.
pub(super) const STATE_MAX: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Qemu(#[from] StartError),
    #[error("QEMU could not {what} the machine: {}", Untrusted(why))]
    Failed {
        what: &'static str,
        /// QEMU's error, or the migration's status.
        why: String,
    },
    #[error("QEMU did not {what} the machine within {} s", DEADLINE.as_secs())]
    Silent { what: &'static str },
    #[error("transferring the machine's state")]
    Channel(#[from] io::Error),
}

/// `query-machines`. qapi's type requires fields that only the newest QEMU sends.
#[derive(Clone, Debug, Serialize)]
struct QueryMachines {}

impl qapi::Command for QueryMachines {
    const NAME: &'static str = "query-machines";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<MachineType>;
}

#[derive(Debug, Deserialize)]
struct MachineType {
    name: String,
    alias: Option<String>,
}

impl Machine {
    /// Fails if QEMU cannot save one of the machine's devices. May be called before the guest runs.
    pub async fn snapshot_allowed(&mut self) -> Result<(), SnapshotError> {
        let info: MigrationInfo = self.execute(qapi::qmp::query_migrate {}).await?;
        match info.blocked_reasons {
            Some(reasons) if !reasons.is_empty() => Err(SnapshotError::Failed {
                what: "save",
                why: reasons.join(", "),
            }),
            _ => Ok(()),
        }
    }

    /// Stops the CPUs and returns the state of everything but the memory. The memory's file is then
    /// consistent with it. The machine cannot be used afterwards.
    pub async fn save(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut ours = self.state_channel().await?;
        self.pause().await?;
        self.without_memory().await?;
        let mut state = Vec::new();
        let read = async {
            // QEMU closes its end when it has written everything.
            let mut limited = (&mut ours).take(STATE_MAX);
            limited.read_to_end(&mut state).await?;
            Ok(())
        };
        let migrate = async {
            self.execute(qapi::qmp::migrate {
                uri: Some(format!("fd:{CHANNEL}")),
                channels: None,
                detach: None,
                resume: None,
            })
            .await?;
            self.migrated("save").await
        };
        let both = async { tokio::try_join!(migrate, read) };
        tokio::time::timeout(DEADLINE, both)
            .await
            .map_err(|_| SnapshotError::Silent { what: "save" })??;
        Ok(state)
    }

    /// Loads a state from [`Machine::save`] into a machine of the same plan that has not run. Its CPUs
    /// stay stopped. After an error the machine cannot be used.
    pub async fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        let mut ours = self.state_channel().await?;
        self.without_memory().await?;
        let write = async {
            // If QEMU does not read it all, its own error says more.
            let _ = ours.write_all(state).await;
            let _ = ours.shutdown().await;
        };
        let load = async {
            self.execute(qapi::qmp::migrate_incoming {
                uri: Some(format!("fd:{CHANNEL}")),
                channels: None,
                exit_on_error: None,
            })
            .await?;
            self.migrated("restore").await
        };
        let both = async { tokio::join!(write, load) };
        let ((), loaded) = tokio::time::timeout(DEADLINE, both)
            .await
            .map_err(|_| SnapshotError::Silent { what: "restore" })?;
        loaded
    }

    /// Stops the CPUs and removes the network backend with its leases. The guest keeps its device,
    /// whose link stays up.
    pub async fn leave_network(&mut self) -> Result<(), SnapshotError> {
        self.pause().await?;
        self.execute(qapi::qmp::netdev_del {
            id: NETWORK_BEHIND_A_HUB.to_owned(),
        })
        .await?;
        Ok(())
    }

    /// Tells the guest that the disk `index`, empty until now, has `bytes` bytes. Call it when
    /// the CPUs run: before that its node is inactive.
    pub async fn grow_disk(&mut self, index: usize, bytes: u64) -> Result<(), StartError> {
        // The node has that size already. Setting it once more makes the device say so to the
        // guest (virtio 1.2, 5.2.5.2: a configuration change).
        self.execute(qapi::qmp::block_resize {
            device: None,
            node_name: Some(format!("disk{index}")),
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
        })
        .await
        .map(drop)
    }

    /// The machine type of an alias, such as `pc-q35-7.2` of `q35`.
    pub async fn type_of(&mut self, name: &str) -> Result<Option<String>, StartError> {
        let machines = self.execute(QueryMachines {}).await?;
        let found = machines
            .into_iter()
            .find(|machine| machine.name == name || machine.alias.as_deref() == Some(name));
        Ok(found.map(|machine| machine.name))
    }

    /// A socket to QEMU, which knows its end as [`CHANNEL`].
    async fn state_channel(&mut self) -> Result<UnixStream, SnapshotError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let getfd = qapi::qmp::getfd {
            fdname: CHANNEL.to_owned(),
        };
        self.execute_with(getfd, Some(theirs.into())).await?;
        Ok(UnixStream::from_std(ours)?)
    }

    /// A migration from here on leaves out the memory, and tells of its status by events.
    async fn without_memory(&mut self) -> Result<(), StartError> {
        let wanted = [
            MigrationCapability::x_ignore_shared,
            MigrationCapability::events,
        ];
        let capabilities = wanted
            .map(|capability| MigrationCapabilityStatus {
                capability,
                state: true,
            })
            .into();
        self.execute(qapi::qmp::migrate_set_capabilities { capabilities })
            .await
            .map(drop)
    }

    /// Waits until the migration is completed or has failed.
    async fn migrated(&mut self, what: &'static str) -> Result<(), SnapshotError> {
        loop {
            match self.events.recv().await {
                Some(Ok(Event::MIGRATION { data, .. })) => match data.status {
                    MigrationStatus::completed => return Ok(()),
                    MigrationStatus::failed | MigrationStatus::cancelled => break,
                    _ => {}
                },
                Some(Ok(other)) => self.handle_event(Ok(other)),
                // The query below says why QEMU is gone.
                Some(Err(_)) | None => break,
            }
        }
        let info: MigrationInfo = self.execute(qapi::qmp::query_migrate {}).await?;
        let why = info
            .error_desc
            .or_else(|| Some(format!("{:?}", info.status?)))
            .unwrap_or_default();
        Err(SnapshotError::Failed { what, why })
    }
}
