//! The channel to the host: decodes frames, and buffers those to be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::waitpid;
use nix::unistd::execv;

use super::inject::port_driver;
use super::ring::Ring;
use super::{log, resident};
use crate::protocol::{
    AgentMessage, Decoder, ErrorStage, Frame, Hello, MAX_DATA, Notice, PORT, RemoteError, Reply,
    Response, StreamId, WireError, put_control, put_credit, put_data, put_end, put_hello,
    put_placed, put_stop,
};

/// The size of the write buffer above which no more is read, from the port or from processes.
const FULL: usize = 256 << 10;

/// The fewest bytes that are left for the host to read, which takes it a system call.
const WORTH_PLACING: usize = 4096;

/// Where the kernel lists the ports of virtio-serial devices.
const PORTS: &str = "/sys/class/virtio-ports";

/// Opens the port by the name that the host gave it, without udev's links. Its driver may still be
/// loading, so it waits up to `timeout` for the port.
pub(crate) fn find(timeout: Duration) -> io::Result<File> {
    let start = Instant::now();
    loop {
        match device() {
            Some(name) => {
                return OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(format!("/dev/{name}"));
            }
            None if start.elapsed() < timeout => std::thread::sleep(Duration::from_millis(20)),
            None => return Err(io::Error::other(format!("no virtio-serial port {PORT}"))),
        }
    }
}

/// Loads the port's driver with the guest's modprobe, in case its init did not, else what was injected
/// with the agent. Failures are ignored: the driver may be built in, and if not, [`find`] reports the
/// missing port.
pub(crate) fn load_driver() {
    if device().is_some() {
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
    if device().is_none() {
        port_driver::load();
    }
}

fn device() -> Option<String> {
    fs::read_dir(PORTS).ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == PORT).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostEnd {
    Open,
    HungUp,
}

pub(crate) struct Port {
    file: File,
    decoder: Decoder,
    out: Vec<u8>,
    written: usize,
    scratch: Vec<u8>,
    /// Where data is placed, if the host wants that.
    ring: Option<Ring>,
    places_data: bool,
    /// How long the host's end may be closed.
    pub(crate) reconnect_timeout: Duration,
    /// This is the port of a guest, not an inherited descriptor.
    pub(crate) is_of_guest: bool,
    /// The guest's boot failed, and its init started the agent in emergency mode.
    pub(crate) is_emergency: bool,
}

impl Port {
    /// Speaks over an open descriptor, which becomes non-blocking.
    pub(crate) fn new(
        file: File,
        is_of_guest: bool,
        reconnect_timeout: Duration,
    ) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self {
            file,
            decoder: Decoder::new(),
            out: Vec::new(),
            written: 0,
            scratch: vec![0; 64 << 10],
            ring: None,
            places_data: false,
            reconnect_timeout,
            is_of_guest,
            is_emergency: false,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.out.len() - self.written < FULL
    }

    /// Whether data may be sent. If not, frames are read all the same: one of them makes room.
    pub(crate) fn has_room_for_data(&self) -> bool {
        let mut ring = self.ring.iter().filter(|_| self.places_data);
        self.has_room() && ring.all(Ring::has_room)
    }

    /// Reads once; [`Port::frame`] returns what arrived.
    pub(crate) fn read(&mut self) -> io::Result<HostEnd> {
        match (&self.file).read(&mut self.scratch) {
            Ok(0) => return Ok(HostEnd::HungUp),
            Ok(n) => self.decoder.push(&self.scratch[..n]),
            Err(error) if is_transient(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(HostEnd::HungUp);
            }
            Err(error) => return Err(error),
        }
        Ok(HostEnd::Open)
    }

    /// The next frame, or the host's violation of the protocol.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        self.decoder.next()
    }

    /// Writes as much as the port accepts now. A closed host end is not an error here: reading
    /// reports it.
    pub(crate) fn write(&mut self) -> io::Result<()> {
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

    /// Drops all buffered input and output: the connection is over.
    pub(crate) fn reset(&mut self) {
        self.decoder.reset();
        self.out.clear();
        self.written = 0;
    }

    /// Skips all input up to a hello. Output is kept.
    pub(crate) fn expect_hello(&mut self) {
        self.decoder.reset();
    }

    /// Drops the buffered output, and sends a hello.
    pub(crate) fn hello(&mut self, hello: &Hello) {
        // A frame that was written in part is torn; the host finds the preamble after it.
        self.out.clear();
        self.written = 0;
        // It cannot be too long: our version is short.
        let _ = put_hello(&mut self.out, hello);
    }

    /// Sends a message. A hostile disk can make one too long; the host waits for it, so an error is
    /// sent instead.
    pub(crate) fn send(&mut self, mut message: AgentMessage) {
        let Err(error) = put_control(&mut self.out, &message) else {
            return;
        };
        log::console(&format!("cannot send a message: {error}"));
        let text = "the response is too long to be sent";
        let too_long = RemoteError::new(ErrorStage::Request, text);
        match &mut message {
            AgentMessage::Reply(reply) => reply.result = Err(too_long),
            AgentMessage::Notice(Notice::Broken { error, .. }) => *error = too_long,
            AgentMessage::Notice(Notice::Unpacked { result, .. }) => *result = Err(too_long),
            // These two are short.
            AgentMessage::Notice(Notice::Ended { .. } | Notice::Violation { .. }) => return,
        }
        let _ = put_control(&mut self.out, &message);
    }

    pub(crate) fn reply(&mut self, id: u64, result: Result<Response, RemoteError>) {
        self.send(AgentMessage::Reply(Reply { id, result }));
    }

    pub(crate) fn data(&mut self, stream: StreamId, bytes: &[u8]) {
        self.out.drain(..self.written);
        self.written = 0;
        put_data(&mut self.out, stream, bytes);
    }

    /// From now on data is left in memory for the host.
    pub(crate) fn place_data(&mut self) -> io::Result<()> {
        if self.ring.is_none() {
            self.ring = Some(resident::ring()?);
        }
        self.places_data = true;
        Ok(())
    }

    pub(crate) fn places_data(&self) -> bool {
        self.places_data
    }

    /// The next conversation begins, whose host has not asked for it.
    pub(crate) fn place_no_data(&mut self) {
        self.places_data = false;
        self.ring.iter_mut().for_each(Ring::clear);
    }

    /// Sends up to `most` bytes that `read` puts into a buffer. Returns how many.
    pub(crate) fn data_of(
        &mut self,
        stream: StreamId,
        most: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(ring) = self.ring.as_mut().filter(|_| self.places_data) else {
            let mut scratch = std::mem::take(&mut self.scratch);
            let most = most.min(MAX_DATA).min(scratch.len());
            let length = read(&mut scratch[..most]);
            if let Ok(length) = length {
                self.data(stream, &scratch[..length]);
            }
            self.scratch = scratch;
            return length;
        };
        let piece = ring.piece();
        let most = most.min(piece.len());
        let length = read(&mut piece[..most])?;
        if length >= WORTH_PLACING {
            put_placed(&mut self.out, stream, ring.place(), length as u32);
        } else {
            put_data(&mut self.out, stream, &piece[..length]);
        }
        Ok(length)
    }

    pub(crate) fn taken(&mut self, count: u32) -> Result<(), WireError> {
        let nothing = || WireError::OutOfOrder("a taken frame".to_owned());
        self.ring.as_mut().ok_or_else(nothing)?.taken(count)
    }

    pub(crate) fn end(&mut self, stream: StreamId) {
        put_end(&mut self.out, stream);
    }

    pub(crate) fn credit(&mut self, stream: StreamId, bytes: u32) {
        put_credit(&mut self.out, stream, bytes);
    }

    /// Tells the host that no more of a stream is wanted.
    pub(crate) fn stop(&mut self, stream: StreamId) {
        put_stop(&mut self.out, stream);
    }
}

/// Whether a call must be repeated, at once or after poll(2).
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
