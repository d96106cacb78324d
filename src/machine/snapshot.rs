//! Saving a machine and restoring it. Its memory is a file that QEMU maps; everything else, some
//! 300 kB, passes through a socket in QEMU's migration format, so that it needs no name and
//! whoever keeps it can check it first.

use std::io;
use std::time::Duration;

use qapi::qmp::{MigrationCapability, MigrationCapabilityStatus, MigrationInfo, MigrationStatus};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::args::NETWORK_BEHIND_A_HUB;
use super::{Machine, StartError};

/// What QEMU calls the channel.
const CHANNEL: &str = "state";

/// How often QEMU is asked whether it is done: the whole takes 10 to 30 ms.
const LOOK: Duration = Duration::from_millis(1);

/// How long saving or restoring may take: a host that swaps, or reads from a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

/// The largest state that is believed, in bytes.
const LARGEST: u64 = 256 << 20;

/// Why a machine was not saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// QEMU refused, or has ended: its own words.
    #[error(transparent)]
    Qemu(#[from] StartError),
    /// QEMU tried and failed.
    #[error("QEMU could not {what} the machine: {why}")]
    Failed {
        /// `save` or `restore`.
        what: &'static str,
        /// QEMU's words, or its status.
        why: String,
    },
    /// It takes for ever.
    #[error("QEMU did not {what} the machine within {} s", DEADLINE.as_secs())]
    Silent {
        /// `save` or `restore`.
        what: &'static str,
    },
    /// The channel failed.
    #[error("the channel of the machine's state")]
    Channel(#[from] io::Error),
}

/// `query-machines`. qapi's own wants of every machine what only the newest QEMU tells.
#[derive(Clone, Debug, Serialize)]
struct QueryMachines {}

impl qapi::Command for QueryMachines {
    const NAME: &'static str = "query-machines";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<MachineType>;
}

/// What is wanted of a machine type.
#[derive(Debug, Deserialize)]
struct MachineType {
    name: String,
    alias: Option<String>,
}

impl Machine {
    /// Whether QEMU can save each of its devices. Known before any guest has run.
    ///
    /// # Errors
    /// Which it cannot.
    pub async fn snapshot_allowed(&mut self) -> Result<(), SnapshotError> {
        let info: MigrationInfo = self.ask(qapi::qmp::query_migrate {}).await?;
        match info.blocked_reasons {
            Some(reasons) if !reasons.is_empty() => Err(SnapshotError::Failed {
                what: "save",
                why: reasons.join(", "),
            }),
            _ => Ok(()),
        }
    }

    /// Stops the CPUs and gives the state of everything but the memory, whose file then holds
    /// what it held at that moment. The machine is of no use afterwards.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn save(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut ours = self.state_channel().await?;
        self.pause().await?;
        self.without_memory().await?;
        let mut state = Vec::new();
        let read = async {
            // The end comes when QEMU closes its side: it has written everything.
            let mut limited = (&mut ours).take(LARGEST);
            limited.read_to_end(&mut state).await?;
            Ok(())
        };
        let migrate = async {
            self.ask(qapi::qmp::migrate {
                uri: Some(format!("fd:{CHANNEL}")),
                channels: None,
                detach: None,
                resume: None,
            })
            .await?;
            self.settled("save").await
        };
        let both = async { tokio::try_join!(migrate, read) };
        tokio::time::timeout(DEADLINE, both)
            .await
            .map_err(|_| SnapshotError::Silent { what: "save" })??;
        Ok(state)
    }

    /// Restores the state that [`Machine::save`] gave, into a machine of the same plan that has
    /// not run. Its CPUs stay stopped.
    ///
    /// # Errors
    /// See [`SnapshotError`]. QEMU has ended then, or is of no use.
    pub async fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        let mut ours = self.state_channel().await?;
        self.without_memory().await?;
        let write = async {
            // Where QEMU does not take it all, its own words say more than ours.
            let _ = ours.write_all(state).await;
            let _ = ours.shutdown().await;
        };
        let load = async {
            self.ask(qapi::qmp::migrate_incoming {
                uri: Some(format!("fd:{CHANNEL}")),
                channels: None,
                exit_on_error: None,
            })
            .await?;
            self.settled("restore").await
        };
        let both = async { tokio::join!(write, load) };
        let ((), loaded) = tokio::time::timeout(DEADLINE, both)
            .await
            .map_err(|_| SnapshotError::Silent { what: "restore" })?;
        loaded
    }

    /// Stops the CPUs and takes the network away, what it knows of the guest included. The guest
    /// keeps its device, whose link stays up.
    ///
    /// # Errors
    /// QEMU's.
    pub async fn leave_network(&mut self) -> Result<(), SnapshotError> {
        self.pause().await?;
        self.ask(qapi::qmp::netdev_del {
            id: NETWORK_BEHIND_A_HUB.to_owned(),
        })
        .await?;
        Ok(())
    }

    /// Tells the guest that the disk `index`, a placeholder until now,
    /// has `bytes` bytes. To be called once the CPUs run: before that its node is inactive.
    ///
    /// # Errors
    /// QEMU's.
    pub async fn grow_disk(&mut self, index: usize, bytes: u64) -> Result<(), StartError> {
        // The node has that size already. Setting it once more makes the device say so to the
        // guest (virtio 1.2, 5.2.5.2: a configuration change).
        self.ask(qapi::qmp::block_resize {
            device: None,
            node_name: Some(format!("disk{index}")),
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
        })
        .await
        .map(drop)
    }

    /// The machine type that a name such as `q35` stands for: `pc-q35-7.2`.
    ///
    /// # Errors
    /// QEMU's.
    pub async fn type_of(&mut self, name: &str) -> Result<Option<String>, StartError> {
        let machines = self.ask(QueryMachines {}).await?;
        let found = machines
            .into_iter()
            .find(|machine| machine.name == name || machine.alias.as_deref() == Some(name));
        Ok(found.map(|machine| machine.name))
    }

    /// A channel to QEMU, which holds its end under the name [`CHANNEL`].
    async fn state_channel(&mut self) -> Result<UnixStream, SnapshotError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let getfd = qapi::qmp::getfd {
            fdname: CHANNEL.to_owned(),
        };
        self.ask_with(getfd, Some(theirs.into())).await?;
        Ok(UnixStream::from_std(ours)?)
    }

    /// The memory is a file: it is no part of the state.
    async fn without_memory(&mut self) -> Result<(), StartError> {
        self.ask(qapi::qmp::migrate_set_capabilities {
            capabilities: vec![MigrationCapabilityStatus {
                capability: MigrationCapability::x_ignore_shared,
                state: true,
            }],
        })
        .await
        .map(drop)
    }

    /// Waits until it is done or has failed.
    async fn settled(&mut self, what: &'static str) -> Result<(), SnapshotError> {
        loop {
            let info: MigrationInfo = self.ask(qapi::qmp::query_migrate {}).await?;
            match info.status {
                Some(MigrationStatus::completed) => return Ok(()),
                Some(status @ (MigrationStatus::failed | MigrationStatus::cancelled)) => {
                    let why = info.error_desc.unwrap_or_else(|| format!("{status:?}"));
                    return Err(SnapshotError::Failed { what, why });
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
