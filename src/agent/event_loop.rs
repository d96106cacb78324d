//! The event loop: one poll(2) over the port, the child processes and their pipes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::port::{HostEnd, Port};
use super::requests::Requests;
use super::{log, mount, power};
use crate::protocol::{
    AgentMessage, ExecEnd, Frame, Hello, Notice, PROTOCOL, Role, StreamId, WireError,
};
use crate::sys::Reaped;

/// How often a port whose host end is closed is checked.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// What poll(2) reports of a descriptor whose other end is gone.
const GONE: PollFlags = PollFlags::POLLERR
    .union(PollFlags::POLLHUP)
    .union(PollFlags::POLLNVAL);

struct Connection {
    port: Port,
    greeted: bool,
    requests: Requests,
}

/// Serves one host after the other until the port's other end is closed for good. Fails if the
/// port or poll(2) does. The agent of an appliance does more by itself.
pub(crate) fn serve(port: Port, is_of_appliance: bool) -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let children = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut connection = Connection {
        port,
        greeted: false,
        requests: Requests::new(is_of_appliance),
    };
    let mut scratch = vec![0; 64 << 10];
    let mut hung_up: Option<Instant> = None;
    loop {
        let ready = connection.wait(&children)?;
        if ready.children {
            while let Ok(Some(_)) = children.read_signal() {}
            connection.reap();
        }
        if ready.port {
            match connection.port.read()? {
                HostEnd::Open => hung_up = None,
                HostEnd::HungUp => {
                    connection.reset();
                    connection.port.reset();
                    let since = *hung_up.get_or_insert_with(Instant::now);
                    if since.elapsed() >= connection.port.reconnect_timeout {
                        return Ok(());
                    }
                    std::thread::sleep(RECONNECT_INTERVAL);
                }
            }
            connection.handle_frames();
        }
        connection.pump(&ready, &mut scratch);
        connection.port.write()?;
        if !connection.port.has_output()
            && let Some(action) = connection.requests.power.take()
        {
            mount::probe_mount::release_all();
            power::power_off_or_reboot(action);
        }
    }
}

enum Source {
    Port,
    Children,
    /// A stream of a conversation that is over.
    Detached(usize),
    Status(u64),
    Input(StreamId),
    Output(StreamId),
}

#[derive(Default)]
struct Ready {
    port: bool,
    children: bool,
    detached: Vec<usize>,
    statuses: Vec<u64>,
    /// With whether the reader is gone.
    inputs: Vec<(StreamId, bool)>,
    outputs: Vec<StreamId>,
}

impl Connection {
    fn wait(&self, children: &SignalFd) -> io::Result<Ready> {
        let (sources, mut fds): (Vec<_>, Vec<_>) = self.sources(children).into_iter().unzip();
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = Ready::default();
        for (source, fd) in sources.into_iter().zip(fds) {
            let events = fd.revents().unwrap_or(PollFlags::empty());
            let is_ready = !events.is_empty();
            match source {
                // A hang-up is reported even if it was not asked for. Reading finds it, after what
                // the host sent before.
                Source::Port => ready.port = events.intersects(PollFlags::POLLIN | GONE),
                Source::Children => ready.children = is_ready,
                Source::Detached(index) if is_ready => ready.detached.push(index),
                Source::Status(id) if is_ready => ready.statuses.push(id),
                Source::Input(id) if is_ready => {
                    ready.inputs.push((id, events.intersects(GONE)));
                }
                // One with a deadline is read even if it is not ready.
                Source::Output(id) if is_ready || self.deadline(id).is_some() => {
                    ready.outputs.push(id);
                }
                _ => {}
            }
        }
        Ok(ready)
    }

    fn sources<'a>(&'a self, children: &'a SignalFd) -> Vec<(Source, PollFd<'a>)> {
        let has_room = self.port.has_room();
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, has_room);
        wanted.set(PollFlags::POLLOUT, self.port.has_output());
        let readable = |fd: BorrowedFd<'a>| PollFd::new(fd, PollFlags::POLLIN);
        let mut sources = vec![
            (Source::Port, PollFd::new(self.port.fd(), wanted)),
            (Source::Children, readable(children.as_fd())),
        ];
        let tasks = &self.requests.tasks;
        for (index, file, wanted) in self.requests.detached.files() {
            sources.push((Source::Detached(index), PollFd::new(file.as_fd(), wanted)));
        }
        for (id, status) in tasks.statuses() {
            sources.push((Source::Status(id), readable(status.as_fd())));
        }
        for (id, input) in tasks.inputs.iter().filter(|(_, input)| input.is_watched()) {
            if let Some(file) = &input.file {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::POLLOUT, input.has_data());
                sources.push((Source::Input(*id), PollFd::new(file.as_fd(), wanted)));
            }
        }
        let outputs = tasks.outputs.iter();
        let has_room = self.port.has_room_for_data();
        for (id, output) in outputs.filter(|(_, output)| has_room && output.is_wanted()) {
            sources.push((Source::Output(*id), readable(output.file.as_fd())));
        }
        sources
    }

    fn timeout(&self) -> PollTimeout {
        let outputs = self.requests.tasks.outputs.values();
        let deadlines = outputs
            .filter(|_| self.port.has_room_for_data())
            .filter_map(|output| output.deadline());
        deadlines.min().map_or(PollTimeout::NONE, |deadline| {
            // Rounded up to milliseconds, to avoid a busy loop.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    fn deadline(&self, output: StreamId) -> Option<Instant> {
        self.requests.tasks.outputs.get(&output)?.deadline()
    }

    /// Reaps all ended children: commands, workers and, as process 1, orphans.
    fn reap(&mut self) {
        while let Some((pid, end)) = crate::sys::reap() {
            let end = match end {
                Reaped::Exited(status) => ExecEnd::Exited(status),
                Reaped::Signalled(signal) => ExecEnd::Signalled(signal),
            };
            self.requests.detached.process_ended(pid);
            self.requests.tasks.process_ended(pid, end, &mut self.port);
        }
    }

    /// Handles what the host sent. A violation of the protocol ends the connection.
    fn handle_frames(&mut self) {
        loop {
            let result = match self.port.frame() {
                Ok(Some(frame)) => self.handle(frame),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.reset();
                log::console(&format!("protocol violation by the host: {error}"));
                let text = error.to_string();
                self.port
                    .send(AgentMessage::Notice(Notice::Violation { text }));
                self.port.expect_hello();
            }
        }
    }

    fn handle(&mut self, frame: Frame) -> Result<(), WireError> {
        let kind = frame.kind();
        let requests = &mut self.requests;
        match frame {
            Frame::Hello(hello) => self.greet(&hello),
            _ if !self.greeted => {
                return Err(WireError::OutOfOrder(format!("a frame of kind {kind}")));
            }
            Frame::Control(json) => requests.handle(&json, &mut self.port)?,
            Frame::Data(id, bytes) => requests.input(id, kind)?.accept(id, &bytes)?,
            Frame::End(id) => requests.input(id, kind)?.finish(),
            Frame::Placed(..) => {
                return Err(WireError::OutOfOrder("a placed frame".to_owned()));
            }
            Frame::Taken(count) => self.port.taken(count)?,
            Frame::Credit(id, credit) => {
                if let Some(output) = requests.output(id, kind)? {
                    output.window.credited(id, credit)?;
                }
            }
            Frame::Stop(id) => {
                if requests.output(id, kind)?.is_some() {
                    requests.tasks.stop_output(id, &mut self.port);
                }
            }
        }
        Ok(())
    }

    fn greet(&mut self, hello: &Hello) {
        match hello.keeps_commands {
            true => self.requests.detach(),
            false => self.requests.clear(),
        }
        self.greeted = false;
        self.port.place_no_data();
        if hello.from != Role::Host {
            // An echo of our own hello, or that of another agent.
            self.port.expect_hello();
            return;
        }
        self.greeted = true;
        self.port.hello(&Hello {
            from: Role::Agent,
            protocol: PROTOCOL,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: hello.nonce,
            emergency: self.port.is_emergency,
            keeps_commands: false,
        });
    }

    fn pump(&mut self, ready: &Ready, scratch: &mut [u8]) {
        self.requests.detached.pump(&ready.detached, scratch);
        let tasks = &mut self.requests.tasks;
        for id in &ready.statuses {
            tasks.read_status(*id, &mut self.port);
        }
        for (id, gone) in &ready.inputs {
            if let Some(input) = tasks.inputs.get_mut(id) {
                input.pump(*id, &mut self.port);
                if *gone {
                    input.close(*id, &mut self.port);
                }
            }
        }
        tasks.inputs.retain(|_, input| !input.is_over());
        for id in &ready.outputs {
            if let Some(output) = tasks.outputs.get_mut(id) {
                output.pump(*id, &mut self.port);
            }
        }
        tasks.end_outputs(&mut self.port);
    }

    /// Ends every command and worker: the connection is over.
    fn reset(&mut self) {
        self.requests.clear();
        self.greeted = false;
    }
}
