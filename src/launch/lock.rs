//! One encrypted volume, on which passphrases are tried. Of LUKS the key of the data is derived here and
//! not in the guest, which is faster and gets no passphrase. What this program does not open itself,
//! cryptsetup of this host opens in the appliance.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::cryptsetup::{Cryptsetup, Tried};
use super::passphrase::Passphrase;
use crate::block::luks::{Header, Slot};
use crate::host::memory_limit;
use crate::protocol::PathAt;
use crate::protocol::crypt::{LockedVolume, Opening, VolumeKey};
use crate::protocol::disks::Kind;
use crate::session::{Session, SessionError};

/// The binary part of a header, in bytes.
const HEAD: u64 = 4096;

pub(super) struct Lock {
    way: Way,
    /// How many passphrases were tried.
    count: usize,
    /// Why one could not be tried.
    failure: Option<String>,
}

enum Way {
    /// The header, and the area of each of its slots.
    Luks(Header, Vec<Arc<Vec<u8>>>),
    Program(Cryptsetup),
}

impl Lock {
    /// How a volume can be opened; the inner error is why it cannot.
    pub(super) async fn of(
        session: &Session,
        volume: &LockedVolume,
    ) -> Result<Result<Self, String>, SessionError> {
        let way = match volume.kind {
            Kind::Luks => match luks(session, volume).await? {
                Ok(way) => Ok(way),
                Err(why) => match Cryptsetup::send(session, volume).await? {
                    Ok(program) => Ok(Way::Program(program)),
                    Err(missing) => Err(format!("{why}, and {missing}")),
                },
            },
            _ => Cryptsetup::send(session, volume).await?.map(Way::Program),
        };
        Ok(way.map(|way| Self {
            way,
            count: 0,
            failure: None,
        }))
    }

    /// Whether any passphrase could open it.
    pub(super) fn takes_keys(&self) -> bool {
        match &self.way {
            Way::Luks(header, _) => !header.slots.is_empty(),
            Way::Program(_) => true,
        }
    }

    pub(super) async fn open(
        &mut self,
        passphrase: &Passphrase,
    ) -> Result<Option<Opening>, SessionError> {
        self.count += 1;
        match &self.way {
            Way::Luks(header, areas) => {
                for (slot, area) in header.slots.iter().zip(areas) {
                    match derive(slot.clone(), passphrase.clone(), Arc::clone(area)).await {
                        Ok(Some(key)) => return Ok(Some(Opening::Crypt(header.volume(key)))),
                        Ok(None) => {}
                        Err(why) => self.failure = Some(why),
                    }
                }
            }
            Way::Program(program) => match program.open(passphrase).await? {
                Tried::Opened => return Ok(Some(Opening::Mapped)),
                Tried::Wrong => {}
                Tried::Failed(why) => self.failure = Some(why),
            },
        }
        Ok(None)
    }

    /// Why nothing that was tried has opened it.
    pub(super) fn reason(self) -> String {
        match self.failure {
            Some(why) => why,
            None if !self.takes_keys() => "it has no key slot in use".to_owned(),
            None if self.count == 0 => "--key gives its passphrase".to_owned(),
            None => "it has another passphrase; --key gives it".to_owned(),
        }
    }
}

/// Reads the header of a volume, and the areas of its slots.
async fn luks(
    session: &Session,
    volume: &LockedVolume,
) -> Result<Result<Way, String>, SessionError> {
    let read = |offset, bytes| {
        let at = PathAt::new("/", volume.device.as_bytes());
        session.read_from(at, offset, bytes)
    };
    let head = read(0, HEAD).await?;
    let header = match Header::parse(&read(0, Header::length(&head)).await?) {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    let mut areas = Vec::new();
    for slot in &header.slots {
        areas.push(Arc::new(read(slot.area.offset, slot.area.bytes).await?));
    }
    Ok(Ok(Way::Luks(header, areas)))
}

/// Tries a passphrase in a thread: it takes seconds, and a signal ends the work all the same.
async fn derive(
    slot: Slot,
    passphrase: Passphrase,
    area: Arc<Vec<u8>>,
) -> Result<Option<VolumeKey>, String> {
    let memory = slot.memory();
    if memory_limit::available().is_some_and(|available| available < memory) {
        let mib = memory >> 20;
        return Err(format!(
            "its key slot {} takes {mib} MiB of memory",
            slot.name
        ));
    }
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        // Nobody waits for it after a signal.
        let _ = sender.send(slot.open(&passphrase.0, &area));
    };
    let thread = std::thread::Builder::new().spawn(work);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    let opened = receiver.await;
    opened.unwrap_or_else(|_| Err("deriving the key failed unexpectedly".to_owned()))
}
