//! An image on another host, as a server of this host shows it: a process that bivouac started, at a
//! socket without a name.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::formats::ReadAt;
use super::nbd::NbdClient;
use super::remote_url::RemoteUrl;
use crate::linux::proc_fd;

/// The export's name.
pub const EXPORT: &str = "image";

/// A socket where a server listens, and which has no name.
#[derive(Debug)]
pub struct ServerSocket {
    /// What it is, opened with `O_PATH`.
    pub socket: OwnedFd,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl ServerSocket {
    pub fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(proc_fd::path(&self.socket))
    }

    /// A connection to read from.
    pub fn open(&self) -> io::Result<NbdClient<UnixStream>> {
        let stream = self.connect()?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        NbdClient::open(stream, EXPORT).map_err(|error| explained(error, self.timeout))
    }
}

/// A time-out of a socket looks as if it would have to wait.
fn explained(error: io::Error, timeout: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => no_answer(timeout),
        _ => error,
    }
}

pub fn no_answer(timeout: Duration) -> io::Error {
    let seconds = timeout.as_secs_f32();
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("its server has not answered within {seconds} s"),
    )
}

/// How many were opened.
static OPENED: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub struct RemoteImage {
    pub url: RemoteUrl,
    /// Ends the server when it is dropped.
    pub server: Box<dyn Any + Send + Sync>,
    socket: ServerSocket,
    /// For the few reads of this process.
    client: Mutex<NbdClient<UnixStream>>,
    /// The number under which a QEMU inherits a connection of its own.
    slot: OwnedFd,
    size: u64,
    name: PathBuf,
    number: u64,
}

impl RemoteImage {
    pub fn new(
        url: RemoteUrl,
        socket: ServerSocket,
        client: NbdClient<UnixStream>,
        server: Box<dyn Any + Send + Sync>,
    ) -> io::Result<Self> {
        Ok(Self {
            slot: socket.socket.try_clone()?,
            size: client.size(),
            name: url.name(),
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            client: Mutex::new(client),
            url,
            server,
            socket,
        })
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Another one for each, even of the same URL.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The name whose extension may promise a format.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// A descriptor to be replaced by [`RemoteImage::connect`]'s before it is inherited.
    pub fn slot(&self) -> BorrowedFd<'_> {
        self.slot.as_fd()
    }

    /// A connection for one QEMU.
    pub fn connect(&self) -> io::Result<UnixStream> {
        self.socket.connect()
    }
}

/// The bytes of a layer.
#[derive(Debug)]
pub enum ImageData {
    File(File),
    Remote(Arc<RemoteImage>),
}

impl ImageData {
    /// Reads up to as many bytes as `buffer` has, as read(2).
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Remote(remote) => {
                let left = remote.size.saturating_sub(offset);
                let length = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                self.read_exact_at(&mut buffer[..length], offset)?;
                Ok(length)
            }
        }
    }
}

impl ReadAt for ImageData {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => FileExt::read_exact_at(file, buffer, offset),
            Self::Remote(remote) => {
                let mut client = remote.client.lock().unwrap_or_else(PoisonError::into_inner);
                let read = client.read_exact_at(buffer, offset);
                read.map_err(|error| explained(error, remote.socket.timeout))
            }
        }
    }
}

impl AsFd for ImageData {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Remote(remote) => remote.slot(),
        }
    }
}
