//! The channel to the host: bytes in, frames out, and a buffer for what waits to be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::waitpid;
use nix::unistd::execv;
use serde::Serialize;

use crate::guest::wire::{
    Decoder, Frame, Hello, PORT, StreamId, WireError, put_control, put_credit, put_data, put_end,
    put_hello, put_stop,
};

/// Above this many bytes to be written nothing more is read, from the port or from a process.
const FULL: usize = 256 << 10;

/// Where the kernel lists the ports of virtio-serial devices.
const PORTS: &str = "/sys/class/virtio-ports";

/// Opens the port by the name that the host gave it. There is no udev to make a link.
///
/// # Errors
/// No port of this name within `patience`: its driver may be loaded only now.
pub fn find(patience: Duration) -> io::Result<File> {
    let start = Instant::now();
    loop {
        match look() {
            Some(device) => {
                return OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(format!("/dev/{device}"));
            }
            None if start.elapsed() < patience => std::thread::sleep(Duration::from_millis(20)),
            None => return Err(io::Error::other(format!("no virtio-serial port {PORT}"))),
        }
    }
}

/// Has the driver loaded, in a system that is not ours and may not have done it by itself.
/// A kernel may have it built in, and a system may lack the program: then the port is there, or
/// it never comes, and that is told.
pub fn load_driver() {
    if look().is_some() {
        return;
    }
    let child = crate::sys::fork_child(|| {
        for program in [c"/sbin/modprobe", c"/usr/sbin/modprobe", c"/bin/modprobe"] {
            let _ = execv(program, &[program, c"-q", c"virtio_console"]);
        }
        127
    });
    if let Ok(child) = child {
        let _ = waitpid(child, None);
    }
}

fn look() -> Option<String> {
    fs::read_dir(PORTS).ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == PORT).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes, or none yet.
    Open,
    /// The host's end is closed.
    HungUp,
}

/// The port.
#[derive(Debug)]
pub struct Port {
    file: File,
    decoder: Decoder,
    out: Vec<u8>,
    written: usize,
    scratch: Vec<u8>,
    /// How long a hang-up may last.
    pub patience: Duration,
    /// It is the port of a guest, and not any descriptor.
    pub is_of_guest: bool,
    /// The guest's init gave up its boot, and started the agent in emergency mode.
    pub is_emergency: bool,
}

impl Port {
    /// Over an open descriptor, which becomes non-blocking. `patience` is for hang-ups.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn new(file: File, is_of_guest: bool, patience: Duration) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self {
            file,
            decoder: Decoder::new(),
            out: Vec::new(),
            written: 0,
            scratch: vec![0; 64 << 10],
            patience,
            is_of_guest,
            is_emergency: false,
        })
    }

    /// For poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    /// Whether more output may be made.
    pub fn has_room(&self) -> bool {
        self.out.len() - self.written < FULL
    }

    /// Reads once; [`Port::frame`] then has what came.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&mut self) -> io::Result<Input> {
        match (&self.file).read(&mut self.scratch) {
            Ok(0) => return Ok(Input::HungUp),
            Ok(n) => self.decoder.push(&self.scratch[..n]),
            Err(error) if is_transient(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(Input::HungUp);
            }
            Err(error) => return Err(error),
        }
        Ok(Input::Open)
    }

    /// The next frame of what was read.
    ///
    /// # Errors
    /// What the host did wrong.
    pub fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        self.decoder.next()
    }

    /// Writes as much as the port takes now.
    ///
    /// # Errors
    /// What write(2) says; a closed host end is no error here, reading will tell it.
    pub fn write(&mut self) -> io::Result<()> {
        while self.has_output() {
            match (&self.file).write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_transient(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Forgets what came and what waits: the conversation is over.
    pub fn reset(&mut self) {
        self.decoder.reset();
        self.out.clear();
        self.written = 0;
    }

    /// Waits for a hello; what waits to be written stays.
    pub fn expect_hello(&mut self) {
        self.decoder.reset();
    }

    /// Forgets what waits to be written, and says hello.
    pub fn hello(&mut self, hello: &Hello) {
        // What of an old frame is already written is torn; the preamble is found behind it.
        self.out.clear();
        self.written = 0;
        // Its program version is ours, and short.
        let _ = put_hello(&mut self.out, hello);
    }

    /// Sends a message.
    ///
    /// # Errors
    /// It is over the cap.
    pub fn control<M: Serialize>(&mut self, message: &M) -> Result<(), WireError> {
        put_control(&mut self.out, message)
    }

    /// Sends data.
    pub fn data(&mut self, stream: StreamId, bytes: &[u8]) {
        self.out.drain(..self.written);
        self.written = 0;
        put_data(&mut self.out, stream, bytes);
    }

    /// Sends an end-of-file.
    pub fn end(&mut self, stream: StreamId) {
        put_end(&mut self.out, stream);
    }

    /// Sends a credit.
    pub fn credit(&mut self, stream: StreamId, bytes: u32) {
        put_credit(&mut self.out, stream, bytes);
    }

    /// Tells that no more is wanted.
    pub fn stop(&mut self, stream: StreamId) {
        put_stop(&mut self.out, stream);
    }
}

/// Whether a call just has to be made again, at once or after poll(2).
pub fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
