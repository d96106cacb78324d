//! Who may see a machine's screen over VNC: who knows a password that is made for each run, or, with a
//! UNIX socket, the user.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::stat::{Mode, fchmod};

use super::failure::Failure;
use super::progress::Progress;
use crate::machine::plan::Display;
use crate::machine::{Machine, StartError};
use crate::session::random;

/// What a password consists of: no characters that look alike. A power of two of them.
const CHARACTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[derive(Debug, Default)]
pub(crate) struct Screen {
    access: Access,
    announced: bool,
}

#[derive(Debug, Default)]
enum Access {
    /// Nothing to give.
    #[default]
    None,
    Password {
        /// The server's, in QEMU's syntax.
        address: String,
        password: String,
    },
    Socket {
        path: PathBuf,
        /// Once it is made.
        socket: Option<OwnedFd>,
    },
}

impl Screen {
    pub fn new(display: &Display) -> Result<Self, Failure> {
        let access = match display {
            Display::None | Display::Gtk => Access::None,
            Display::Vnc(address) => Access::Password {
                address: address.clone(),
                password: password()?,
            },
            Display::VncSocket(path) => Access::Socket {
                path: path.clone(),
                socket: None,
            },
        };
        Ok(Self {
            access,
            announced: false,
        })
    }

    /// Says the password, and makes the socket; once.
    pub fn announce(&mut self, progress: &dyn Progress) -> Result<(), Failure> {
        if std::mem::replace(&mut self.announced, true) {
            return Ok(());
        }
        match &mut self.access {
            Access::None => {}
            Access::Password { address, password } => {
                progress.clear_status();
                progress.message(&format!("VNC at {address}, password {password}"));
            }
            Access::Socket { path, socket } => match bound(path) {
                Ok(made) => *socket = Some(made),
                Err(error) => {
                    let what = format!("making the socket of VNC, {}", path.display());
                    let in_use = error.kind() == io::ErrorKind::AddrInUse;
                    let failure = Failure::from(anyhow::Error::from(error).context(what));
                    let hint = in_use.then(|| "a path where nothing is yet".to_owned());
                    return Err(Failure { hint, ..failure });
                }
            },
        }
        Ok(())
    }

    /// Before the CPUs run.
    pub async fn open(&self, machine: &mut Machine) -> Result<(), StartError> {
        match &self.access {
            Access::Password { password, .. } => machine.set_vnc_password(password).await,
            Access::Socket {
                socket: Some(socket),
                ..
            } => machine.serve_vnc(socket.try_clone()?).await,
            Access::None | Access::Socket { socket: None, .. } => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Access::Socket {
            path,
            socket: Some(_),
        } = &self.access
        {
            // Somebody else may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// VNC uses 8 characters of a password.
fn password() -> Result<String, Failure> {
    let bytes: [u8; 8] = random().context("making a password for VNC")?;
    let characters = bytes.map(|byte| char::from(CHARACTERS[usize::from(byte) % CHARACTERS.len()]));
    Ok(characters.iter().collect())
}

/// A socket that only its owner can connect to. QEMU listens: before, nobody can.
fn bound(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The name gets the mode of the socket (unix_bind in net/unix/af_unix.c).
    fchmod(&made, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(made.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(made)
}
