//! An image on another host, as a server of this host shows it: a process that bivouac started, at a
//! socket without a name.

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::formats::ReadAt;
use super::nbd::NbdClient;
use super::nbd_server;
use super::remote_url::{RemoteSource, RemoteUrl};
use crate::linux::proc_fd;

/// What helps with a server that does not answer in time.
pub const IF_SLOW: &str = "--remote-timeout TIME, if the server is only slow";

/// The most bytes that are kept of what was read: far more than the header and tables of any image that
/// is used.
const MAX_KEPT: usize = 16 << 20;

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

/// A time-out of a socket looks as if it would have to wait, and its end like that of a file.
fn explained(error: io::Error, timeout: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => no_answer(timeout),
        io::ErrorKind::UnexpectedEof => io::Error::other("its server has ended"),
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

/// What fails half-way fails each time: a client knows itself whether it is broken.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many were opened.
static OPENED: AtomicU64 = AtomicU64::new(1);

/// For the few reads of this process. Its client is also that of all QEMUs, over HTTP.
#[derive(Debug)]
struct Reader {
    client: Arc<Mutex<NbdClient<UnixStream>>>,
    /// What was read, by its offset and length. The same is read again where nobody may wait for a server.
    kept: HashMap<(u64, usize), Vec<u8>>,
    /// How many bytes may still be kept; `None` if they did not suffice.
    room: Option<usize>,
}

impl Reader {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = (offset, buffer.len());
        if let Some(kept) = self.kept.get(&range) {
            buffer.copy_from_slice(kept);
            return Ok(());
        }
        locked(&self.client).read_exact_at(buffer, offset)?;
        self.room = self.room.and_then(|room| room.checked_sub(buffer.len()));
        if self.room.is_some() {
            self.kept.insert(range, buffer.to_vec());
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct RemoteImage {
    pub url: RemoteUrl,
    /// Ends the server when it is dropped.
    pub server: Box<dyn Any + Send + Sync>,
    socket: ServerSocket,
    reader: Mutex<Reader>,
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
            reader: Mutex::new(Reader {
                client: Arc::new(Mutex::new(client)),
                kept: HashMap::new(),
                room: Some(MAX_KEPT),
            }),
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

    /// Whether all that was read is kept.
    pub fn is_kept(&self) -> bool {
        self.reader().room.is_some()
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        locked(&self.reader)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.reader().read_exact_at(buffer, offset);
        read.map_err(|error| explained(error, self.socket.timeout))
    }

    /// The name whose extension may promise a format.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// A descriptor to be replaced by [`RemoteImage::connect`]'s before it is inherited.
    pub fn slot(&self) -> BorrowedFd<'_> {
        self.slot.as_fd()
    }

    /// A connection for one QEMU. Over HTTP, one thing after the other is read by all of them.
    pub fn connect(&self) -> io::Result<UnixStream> {
        if !matches!(self.url.source, RemoteSource::Http { .. }) {
            return self.socket.connect();
        }
        let (theirs, ours) = UnixStream::pair()?;
        let client = Arc::clone(&self.reader().client);
        let size = self.size;
        let read = move |buffer: &mut [u8], offset| locked(&client).read_exact_at(buffer, offset);
        // It ends with QEMU, which has seen what failed.
        thread::Builder::new().spawn(move || drop(nbd_server::serve(ours, size, read)))?;
        Ok(theirs)
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
            Self::Remote(remote) => remote.read_exact_at(buffer, offset),
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
