//! This host's cryptsetup in the appliance: for what this program does not open itself, above all
//! BitLocker. It gets the passphrase on its standard input; the appliance ends with the command.

use super::borrowed::Borrowed;
use super::passphrase::Passphrase;
use crate::protocol::crypt::LockedVolume;
use crate::protocol::disks::Kind;
use crate::session::{Session, SessionError};

/// The exit status for a wrong passphrase (cryptsetup(8), RETURN CODES).
const NO_PERMISSION: u8 = 2;
/// What it says, with another status, for one in the middle of a reencryption.
const NO_SLOT: &str = "No usable keyslot is available.";

pub(super) struct Cryptsetup {
    program: Borrowed,
    kind: &'static str,
    device: String,
    name: String,
}

/// What a passphrase did.
pub(super) enum Tried {
    Opened,
    Wrong,
    Failed(String),
}

impl Cryptsetup {
    /// Copies it into the appliance; the inner error says why there is none.
    pub(super) async fn send(
        session: &Session,
        volume: &LockedVolume,
    ) -> Result<Result<Self, String>, SessionError> {
        let program = Borrowed::send(session, "cryptsetup").await?;
        Ok(program.map(|program| Self {
            program,
            kind: match volume.kind {
                Kind::Bitlocker => "bitlk",
                _ => "luks",
            },
            device: volume.device.clone(),
            name: volume.name.clone(),
        }))
    }

    /// Tries a passphrase. Nothing has locks here, and nothing is left in a keyring.
    pub(super) async fn open(&self, passphrase: &Passphrase) -> Result<Tried, SessionError> {
        let args = [
            "open",
            "--type",
            self.kind,
            "--key-file=-",
            "--disable-locks",
        ];
        let names = ["--disable-keyring", "--", &self.device, &self.name];
        let args = [&args[..], &names].concat();
        Ok(match self.program.run(&args, &passphrase.0).await? {
            Ok(()) => Tried::Opened,
            Err((Some(NO_PERMISSION), _)) => Tried::Wrong,
            Err((_, said)) if said == NO_SLOT => Tried::Wrong,
            Err((_, said)) => Tried::Failed(format!("cryptsetup: {said}")),
        })
    }
}
