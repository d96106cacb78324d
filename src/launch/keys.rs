//! Keys of encrypted volumes that the user gave, and opening a volume with them: the key of the data is
//! derived here and not in the guest, which is faster and gets no passphrase.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::block::luks::{Header, Slot};
use crate::host::memory_limit;
use crate::machine::prompt::Prompt;
use crate::protocol::PathAt;
use crate::protocol::crypt::{CryptVolume, LockedVolume, Unlock};
use crate::protocol::disks::Survey;
use crate::session::{Session, SessionError, SurveyStep};
use crate::text::escape::Untrusted;

/// The binary part of a header, in bytes.
const HEAD: u64 = 4096;
/// How often to ask for a passphrase.
const TRIES: usize = 3;

/// A passphrase, or the content of a key file. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(pub Vec<u8>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a passphrase")
    }
}

/// A key that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// A device node, or the UUID of a volume; `None` for all.
    pub device: Option<String>,
    /// Tried in this order.
    pub passphrases: Vec<Passphrase>,
}

/// What to open encrypted volumes with.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Those of `--key`.
    pub given: Vec<Key>,
    /// Asks for a passphrase.
    pub(crate) prompt: Option<Arc<Prompt>>,
    /// What was typed: other volumes often have the same.
    pub typed: Arc<Mutex<Vec<Passphrase>>>,
}

impl Keys {
    /// Whether a volume could be opened.
    fn is_usable(&self) -> bool {
        self.prompt.is_some() || !self.given.is_empty()
    }

    /// The passphrases for a volume; those that name it come first.
    fn of(&self, volume: &LockedVolume) -> Vec<Passphrase> {
        let is_named = |key: &&Key| key.device.as_ref().is_some_and(|name| names(name, volume));
        let named = self.given.iter().filter(is_named);
        let general = self.given.iter().filter(|key| key.device.is_none());
        let given = named.chain(general);
        let mut all: Vec<_> = given.flat_map(|key| key.passphrases.clone()).collect();
        all.extend(self.typed().iter().cloned());
        all
    }

    fn typed(&self) -> std::sync::MutexGuard<'_, Vec<Passphrase>> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a user who types `name` means this volume.
fn names(name: &str, volume: &LockedVolume) -> bool {
    let uuid = volume.uuid.as_deref().unwrap_or_default();
    let id = name.strip_prefix("UUID=").unwrap_or(name);
    name == volume.device
        || volume.aliases.iter().any(|alias| alias == name)
        || !uuid.is_empty() && id.eq_ignore_ascii_case(uuid)
}

/// Surveys the disks of an appliance, and opens the encrypted volumes for which there is a key.
pub(super) async fn survey(
    session: &Session,
    disks: usize,
    keys: &Keys,
) -> Result<Survey, SessionError> {
    if !keys.is_usable() {
        return session.survey(disks).await;
    }
    let mut step = session.survey_unlocking(disks).await?;
    loop {
        match step {
            SurveyStep::Done(survey) => return Ok(*survey),
            SurveyStep::Locked(volumes) => {
                let mut answers = Vec::new();
                for volume in volumes {
                    let opened = unlock(session, keys, &volume).await?;
                    answers.push(Unlock {
                        device: volume.device,
                        volume: opened,
                    });
                }
                step = session.unlock(answers).await?;
            }
        }
    }
}

/// How to open a volume, or why it stays closed.
async fn unlock(
    session: &Session,
    keys: &Keys,
    volume: &LockedVolume,
) -> Result<Result<CryptVolume, String>, SessionError> {
    let read = |offset, bytes| {
        let at = PathAt::new("/", volume.device.as_bytes());
        session.read_from(at, offset, bytes)
    };
    let head = read(0, HEAD).await?;
    let header = match Header::parse(&read(0, Header::length(&head)).await?) {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    let mut attempt = Attempt::default();
    for slot in &header.slots {
        attempt
            .areas
            .push(Arc::new(read(slot.area.offset, slot.area.bytes).await?));
    }
    let given = keys.of(volume);
    for passphrase in &given {
        if let Some(opened) = attempt.open(&header, passphrase).await {
            return Ok(Ok(opened));
        }
    }
    if let Some(prompt) = keys.prompt.as_ref().filter(|_| !header.slots.is_empty()) {
        for _ in 0..TRIES {
            let Ok(Some(line)) = prompt.ask(&question(volume)).await else {
                break;
            };
            let passphrase = Passphrase(line);
            if let Some(opened) = attempt.open(&header, &passphrase).await {
                keys.typed().push(passphrase);
                return Ok(Ok(opened));
            }
        }
    }
    Ok(Err(match attempt.failure {
        Some(why) => why,
        None if header.slots.is_empty() => "it has no key slot in use".to_owned(),
        None if attempt.count == 0 => "--key gives its passphrase".to_owned(),
        None => "it has another passphrase; --key gives it".to_owned(),
    }))
}

fn question(volume: &LockedVolume) -> String {
    let uuid = volume.uuid.as_deref().unwrap_or("no UUID");
    let (device, uuid) = (Untrusted(&volume.device), Untrusted(uuid));
    format!("Passphrase of {device} ({uuid}): ")
}

/// Tries passphrases on the slots of one volume.
#[derive(Default)]
struct Attempt {
    /// The areas of the slots.
    areas: Vec<Arc<Vec<u8>>>,
    /// How many passphrases were tried.
    count: usize,
    /// Why a slot could not be tried.
    failure: Option<String>,
}

impl Attempt {
    async fn open(&mut self, header: &Header, passphrase: &Passphrase) -> Option<CryptVolume> {
        self.count += 1;
        for (slot, area) in header.slots.iter().zip(&self.areas) {
            match derive(slot.clone(), passphrase.clone(), Arc::clone(area)).await {
                Ok(Some(key)) => return Some(header.volume(key)),
                Ok(None) => {}
                Err(why) => self.failure = Some(why),
            }
        }
        None
    }
}

/// Tries a passphrase in a thread: it takes seconds, and a signal ends the work all the same.
async fn derive(
    slot: Slot,
    passphrase: Passphrase,
    area: Arc<Vec<u8>>,
) -> Result<Option<crate::protocol::crypt::VolumeKey>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_the_keys_that_name_it_before_those_for_all() {
        let key = |device: Option<&str>, text: &str| Key {
            device: device.map(str::to_owned),
            passphrases: vec![Passphrase(text.into())],
        };
        let keys = Keys {
            given: vec![
                key(None, "all"),
                key(Some("/dev/sda2"), "alias"),
                key(Some("UUID=AB-1"), "uuid"),
                key(Some("/dev/vda3"), "other"),
                key(Some("/dev/vda2"), "device"),
            ],
            ..Keys::default()
        };
        let volume = |uuid: &str| LockedVolume {
            device: "/dev/vda2".to_owned(),
            aliases: vec!["/dev/sda2".to_owned()],
            uuid: Some(uuid.to_owned()),
            bytes: 0,
        };
        let of = |volume| -> Vec<String> {
            let all = keys.of(&volume).into_iter();
            all.map(|one| String::from_utf8(one.0).unwrap()).collect()
        };
        assert_eq!(of(volume("ab-1")), ["alias", "uuid", "device", "all"]);
        assert_eq!(of(volume("")), ["alias", "device", "all"]);
        assert_eq!(
            format!("{:?}", Passphrase(b"secret".into())),
            "a passphrase"
        );
    }
}
