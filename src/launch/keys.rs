//! Keys of encrypted volumes that the user gave, and opening a volume with them.

use std::sync::{Arc, Mutex, PoisonError};

use super::lock::Lock;
pub use super::passphrase::Passphrase;
use crate::machine::prompt::Prompt;
use crate::protocol::crypt::{LockedVolume, Opening, Unlock};
use crate::protocol::disks::Survey;
use crate::session::{Session, SessionError, SurveyStep};
use crate::text::escape::Untrusted;

/// How often to ask for a passphrase.
const TRIES: usize = 3;

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
) -> Result<Result<Opening, String>, SessionError> {
    let mut lock = match Lock::of(session, volume).await? {
        Ok(lock) => lock,
        Err(why) => return Ok(Err(why)),
    };
    for passphrase in &keys.of(volume) {
        if let Some(opened) = lock.open(passphrase).await? {
            return Ok(Ok(opened));
        }
    }
    if let Some(prompt) = keys.prompt.as_ref().filter(|_| lock.takes_keys()) {
        for _ in 0..TRIES {
            let Ok(Some(line)) = prompt.ask(&question(volume)).await else {
                break;
            };
            let passphrase = Passphrase(line);
            if let Some(opened) = lock.open(&passphrase).await? {
                keys.typed().push(passphrase);
                return Ok(Ok(opened));
            }
        }
    }
    Ok(Err(lock.reason()))
}

fn question(volume: &LockedVolume) -> String {
    let uuid = volume.uuid.as_deref().unwrap_or("no UUID");
    let (device, uuid) = (Untrusted(&volume.device), Untrusted(uuid));
    format!("Passphrase of {device} ({uuid}): ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::Kind;

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
            kind: Kind::Luks,
            name: String::new(),
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
