//! The agent's loop: one poll(2) over the port, the children and all their pipes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::port::{Input as Read, Port};
use super::streams::{Input, Output};
use super::system::Power;
use super::task::Task;
use crate::guest::wire::{
    AgentMessage, ErrorStage, ExecEnd, Frame, Hello, Notice, PROTOCOL, RemoteError, Reply, Role,
    StreamId, WireError,
};
use crate::sys::Reaped;

/// How often a port whose host end is closed is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Everything of one conversation.
#[derive(Debug)]
pub struct Conversation {
    pub(super) port: Port,
    /// Whether the host has said hello.
    greeted: bool,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) inputs: BTreeMap<StreamId, Input>,
    pub(super) outputs: BTreeMap<StreamId, Output>,
    /// The highest stream that there was.
    pub(super) last_stream: u32,
    /// What to do once all is written.
    pub(super) power: Option<Power>,
}

/// Serves one host after the other, until the port's other end is closed for good.
///
/// # Errors
/// The port, or poll(2), fails.
pub fn serve(port: Port) -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let children = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut conversation = Conversation {
        port,
        greeted: false,
        tasks: BTreeMap::new(),
        inputs: BTreeMap::new(),
        outputs: BTreeMap::new(),
        last_stream: 0,
        power: None,
    };
    let mut scratch = vec![0; 64 << 10];
    let mut hung_up: Option<Instant> = None;
    loop {
        let ready = conversation.wait(&children)?;
        if ready.children {
            while let Ok(Some(_)) = children.read_signal() {}
            conversation.reap();
        }
        if ready.port {
            match conversation.port.read()? {
                Read::Open => hung_up = None,
                Read::HungUp => {
                    conversation.forget();
                    conversation.port.reset();
                    let since = *hung_up.get_or_insert_with(Instant::now);
                    if since.elapsed() >= conversation.port.patience {
                        return Ok(());
                    }
                    std::thread::sleep(LOOK);
                }
            }
            conversation.heed();
        }
        conversation.pump(&ready, &mut scratch);
        conversation.port.write()?;
        if let (Some(power), false) = (conversation.power, conversation.port.has_output()) {
            super::system::switch(power);
            conversation.power = None;
        }
    }
}

/// What poll(2) found.
#[derive(Debug, Default)]
struct Ready {
    port: bool,
    children: bool,
    tasks: Vec<u64>,
    inputs: Vec<(StreamId, bool)>,
    outputs: Vec<StreamId>,
}

impl Conversation {
    fn wait(&self, children: &SignalFd) -> io::Result<Ready> {
        let mut of_port = PollFlags::empty();
        of_port.set(PollFlags::POLLIN, self.port.has_room());
        of_port.set(PollFlags::POLLOUT, self.port.has_output());
        let mut fds = vec![
            PollFd::new(self.port.fd(), of_port),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
        ];
        let told: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, t)| t.status.is_some())
            .collect();
        for task in &told {
            if let Some(status) = &task.1.status {
                fds.push(PollFd::new(status.as_fd(), PollFlags::POLLIN));
            }
        }
        let mut inputs = Vec::new();
        for (id, input) in self.inputs.iter().filter(|(_, input)| input.is_watched()) {
            if let Some(file) = &input.file {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::POLLOUT, input.has_data());
                fds.push(PollFd::new(file.as_fd(), wanted));
                inputs.push(*id);
            }
        }
        let full = !self.port.has_room();
        let mut outputs = Vec::new();
        let mut deadline = None;
        for (id, output) in &self.outputs {
            if output.is_wanted() && !full {
                fds.push(PollFd::new(output.file.as_fd(), PollFlags::POLLIN));
                outputs.push(*id);
                deadline = [deadline, output.deadline()].into_iter().flatten().min();
            }
        }
        let patience = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = patience.map_or(PollTimeout::NONE, |patience| {
            // Rounded up: a little late is better than a busy loop.
            let up = patience + Duration::from_micros(999);
            PollTimeout::try_from(up).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut found = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = || found.next().unwrap_or(PollFlags::empty());
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let port = next();
        Ok(Ready {
            // A hang-up is told whether or not it was asked for, and found by reading; what the
            // host sent before it is read first.
            port: port.intersects(PollFlags::POLLIN | gone),
            children: !next().is_empty(),
            tasks: told
                .iter()
                .filter(|_| !next().is_empty())
                .map(|(id, _)| **id)
                .collect(),
            inputs: inputs
                .into_iter()
                .map(|id| (id, next()))
                .filter(|(_, found)| !found.is_empty())
                .map(|(id, found)| (id, found.intersects(gone)))
                .collect(),
            // One that has a deadline is read without being ready.
            outputs: outputs
                .into_iter()
                .filter(|id| !next().is_empty() || self.outputs[id].deadline().is_some())
                .collect(),
        })
    }

    /// Reaps whatever ended: commands, jobs and, as process 1, everybody's orphans.
    fn reap(&mut self) {
        while let Some((pid, end)) = crate::sys::reap() {
            let end = match end {
                Reaped::Exited(status) => ExecEnd::Exited(status),
                Reaped::Signalled(signal) => ExecEnd::Signalled(signal),
            };
            let found = self.tasks.iter().find(|(_, task)| task.pid == pid);
            if let Some(id) = found.map(|(id, _)| *id) {
                self.task_ended(id, end);
            }
        }
    }

    /// Does what the host asks for, frame by frame.
    fn heed(&mut self) {
        loop {
            let result = match self.port.frame() {
                Ok(Some(frame)) => self.frame(frame),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.forget();
                super::init::tell(&format!("the host sent {error}"));
                let text = error.to_string();
                self.say(&AgentMessage::Notice(Notice::Violation { text }));
                self.port.expect_hello();
            }
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), WireError> {
        let kind = frame.kind();
        match frame {
            Frame::Hello(hello) => self.greet(&hello),
            _ if !self.greeted => {
                return Err(WireError::OutOfOrder(format!("a frame of kind {kind}")));
            }
            Frame::Control(json) => self.request(&json)?,
            Frame::Data(id, bytes) => self.input(id, kind)?.take(id, &bytes)?,
            Frame::End(id) => self.input(id, kind)?.finish(),
            Frame::Credit(id, credit) => {
                if let Some(output) = self.output(id, kind)? {
                    output.window.credited(id, credit)?;
                }
            }
            Frame::Stop(id) => {
                if let Some(output) = self.output(id, kind)? {
                    let job = output.is_job.then_some(output.task);
                    // Its process gets SIGPIPE, as from any reader that left.
                    self.outputs.remove(&id);
                    self.port.end(id);
                    // But a job may have much to do before it writes again, and is for nothing.
                    if let Some(job) = job.and_then(|id| self.tasks.remove(&id)) {
                        job.kill();
                    }
                }
            }
        }
        Ok(())
    }

    fn greet(&mut self, hello: &Hello) {
        self.forget();
        if hello.from != Role::Host {
            // Our own words, or another agent's: not a host.
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
        });
    }

    fn input(&mut self, stream: StreamId, kind: u8) -> Result<&mut Input, WireError> {
        let found = self.inputs.get_mut(&stream);
        found.ok_or(WireError::NotOpen { kind, stream })
    }

    /// None for one that is over: the host's frame crossed with its end.
    fn output(&mut self, stream: StreamId, kind: u8) -> Result<Option<&mut Output>, WireError> {
        if stream.runs_to_agent() || stream.0.get() > self.last_stream {
            return Err(WireError::NotOpen { kind, stream });
        }
        Ok(self.outputs.get_mut(&stream))
    }

    /// Moves bytes, and ends what is over.
    fn pump(&mut self, ready: &Ready, scratch: &mut [u8]) {
        for id in &ready.tasks {
            self.read_status(*id);
        }
        for (id, gone) in &ready.inputs {
            if let Some(input) = self.inputs.get_mut(id) {
                input.pump(*id, &mut self.port);
                if *gone {
                    input.close(*id, &mut self.port);
                }
            }
        }
        self.inputs.retain(|_, input| !input.is_over());
        for id in &ready.outputs {
            if let Some(output) = self.outputs.get_mut(id) {
                output.pump(*id, &mut self.port, scratch);
            }
        }
        self.end_outputs();
    }

    /// Ends every command and job, and forgets them: the conversation is over.
    fn forget(&mut self) {
        for task in self.tasks.values() {
            task.kill();
        }
        self.tasks.clear();
        self.inputs.clear();
        self.outputs.clear();
        self.last_stream = 0;
        self.greeted = false;
    }

    /// Sends a message. A hostile disk can make one longer than may be; the host waits for it, so
    /// then it is told that instead.
    pub(super) fn say(&mut self, message: &AgentMessage) {
        let Err(error) = self.port.control(message) else {
            return;
        };
        super::init::tell(&format!("not sent: {error}"));
        let why = RemoteError::new(
            ErrorStage::Request,
            "the answer to it is too long to be sent",
        );
        let instead = match message {
            AgentMessage::Reply(Reply { id, .. }) => AgentMessage::Reply(Reply {
                id: *id,
                result: Err(why),
            }),
            AgentMessage::Notice(Notice::Broken { stream, .. }) => {
                AgentMessage::Notice(Notice::Broken {
                    stream: *stream,
                    error: why,
                })
            }
            AgentMessage::Notice(Notice::Unpacked { id, .. }) => {
                AgentMessage::Notice(Notice::Unpacked {
                    id: *id,
                    result: Err(why),
                })
            }
            // These two are short.
            AgentMessage::Notice(Notice::Ended { .. } | Notice::Violation { .. }) => return,
        };
        let _ = self.port.control(&instead);
    }
}
