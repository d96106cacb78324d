//! A mount for one command, which sees it, and nobody else. It is gone with the command or with this
//! process, whichever ends first.

#![allow(clippy::disallowed_methods)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;

use super::error::MountError;
use super::keeper::{FAILURE, NAME, Step};
use crate::sys;

/// Directories that may be covered, the first that is empty. The last is never looked at by programs.
const TARGETS: [&str; 4] = ["/mnt", "/media", "/srv", "/sys/fs/fuse/connections"];

/// The variable that tells a command where the image is mounted.
pub const VARIABLE: &str = "BIVOUAC_MOUNT";

/// A command, and the mount that it sees.
#[derive(Debug)]
pub struct PrivateMount {
    keeper: tokio::process::Child,
    socket: UnixStream,
    program: PathBuf,
}

impl PrivateMount {
    /// Starts a command; `{}` in its words is the place of the mount. It waits for answers at its first
    /// access. Must be called on the main thread.
    pub fn start(argv: &[OsString]) -> Result<Self, MountError> {
        let is_empty = |target: &&&str| {
            std::fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none())
        };
        let target = TARGETS.iter().find(is_empty);
        let target = target.or_else(|| TARGETS.iter().rfind(|target| Path::new(target).is_dir()));
        let target = target.ok_or(MountError::NoTarget)?;
        let argv: Vec<_> = argv.iter().map(|word| replaced(word, target)).collect();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Inherited by this child alone: no other is started before it is closed.
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).map_err(io::Error::from)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(NAME)
            .arg(theirs.as_raw_fd().to_string())
            .arg(std::process::id().to_string())
            .arg(target)
            .args(&argv)
            .env(VARIABLE, target);
        let mut command = tokio::process::Command::from(command);
        let keeper = command.kill_on_drop(true).spawn()?;
        Ok(Self {
            keeper,
            socket: UnixStream::from_std(ours)?,
            program: argv.first().map(PathBuf::from).unwrap_or_default(),
        })
    }

    /// Waits until it is mounted.
    pub async fn device(&mut self) -> Result<OwnedFd, MountError> {
        let (message, device) = receive_message(&self.socket).await?;
        device.ok_or_else(|| self.failure(&message))
    }

    /// Waits for the end of the command.
    pub async fn wait(&mut self) -> Result<ExitStatus, MountError> {
        let ended = self.keeper.wait().await?;
        let mut message = Vec::new();
        let mut rest = (&mut self.socket).take(FAILURE as u64);
        match rest.read_to_end(&mut message).await {
            Ok(FAILURE) => Err(self.failure(&message)),
            _ => Ok(ended),
        }
    }

    fn failure(&self, message: &[u8]) -> MountError {
        let step = message.first().copied().unwrap_or_default();
        let step = Step::ALL.into_iter().find(|known| *known as u8 == step);
        let errno = message
            .get(1..FAILURE)
            .and_then(|errno| errno.try_into().ok());
        let error = errno.map(|errno| io::Error::from_raw_os_error(i32::from_le_bytes(errno)));
        match (step, error) {
            (Some(Step::Namespaces), Some(error)) => MountError::Namespaces(error),
            (Some(Step::Device), Some(error)) => MountError::Device(error),
            (Some(Step::Mount), Some(error)) => MountError::Mount(error),
            (Some(Step::Command), Some(error)) => MountError::Command(self.program.clone(), error),
            _ => MountError::Io(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The first message at a socket, and the descriptor that came with it.
async fn receive_message(socket: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    loop {
        socket.readable().await?;
        let receive = || sys::receive_message::<FAILURE>(socket.as_fd());
        match socket.try_io(Interest::READABLE, receive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

/// The descriptor that is sent at the other end of a socket; none if that is closed.
pub(super) async fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    Ok(receive_message(socket).await?.1)
}

/// A word with `target` for each `{}` in it.
fn replaced(word: &OsStr, target: &str) -> OsString {
    let mut rest = word.as_bytes();
    let mut replaced = Vec::new();
    while let Some(place) = rest.windows(2).position(|two| two == b"{}") {
        replaced.extend(&rest[..place]);
        replaced.extend(target.as_bytes());
        rest = &rest[place + 2..];
    }
    replaced.extend(rest);
    OsString::from_vec(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_put_for_each_pair_of_braces() {
        for (word, expected) in [
            ("{}", "/mnt"),
            ("{}/etc:{}/usr", "/mnt/etc:/mnt/usr"),
            ("{a,b}{", "{a,b}{"),
            ("{{}}", "{/mnt}"),
            ("", ""),
        ] {
            assert_eq!(replaced(word.as_ref(), "/mnt"), expected, "{word}");
        }
    }
}
