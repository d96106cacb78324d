//! What requests start: commands and jobs, from their start to their last word.

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::port::is_transient;
use super::process::{self, Spawned};
use super::serve::Conversation;
use super::streams::{Input, Output, Verdict};
use super::{disks, files, system};
use crate::guest::wire::{
    AgentMessage, ErrorStage, ExecEnd, Notice, Operation, RemoteError, Reply, Request, Response,
    StreamId, WindowSize, WireError, parse,
};

/// How many processes there may be at once.
const MOST: usize = 100;

/// A command or job.
#[derive(Debug)]
pub struct Task {
    /// Its process and process group.
    pub pid: Pid,
    /// Where it tells how it went, until it has.
    pub status: Option<File>,
    /// What it told, not yet a whole line.
    told: Vec<u8>,
    terminal: Option<File>,
    is_job: bool,
    /// The input of a `TarIn`.
    input: Option<StreamId>,
    /// The request is answered.
    answered: bool,
    verdict: Option<Verdict>,
}

impl Task {
    /// Ends its whole process group.
    pub fn kill(&self) {
        // It may have ended by itself.
        let _ = killpg(self.pid, Signal::SIGKILL);
        // And may not yet have made its own group.
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
    }
}

impl Conversation {
    /// Does, or starts, what a request asks for.
    ///
    /// # Errors
    /// The request is no request, or names a stream wrongly.
    pub(super) fn request(&mut self, json: &[u8]) -> Result<(), WireError> {
        let Request { id, op } = parse("request", json)?;
        let result = match &op {
            Operation::Exec(exec) => {
                let streams = [exec.stdin, exec.stdout, exec.stderr];
                self.number(&streams)?;
                match exec.pty.is_some() && (exec.stdout.is_none() || exec.stderr.is_some()) {
                    true => Err(RemoteError::new(
                        ErrorStage::Request,
                        "a terminal has one output, stdout",
                    )),
                    false => self.start(id, streams, || process::command(exec)),
                }
            }
            Operation::List { out, .. }
            | Operation::Walk { out, .. }
            | Operation::Read { out, .. }
            | Operation::TarOut { out, .. } => {
                let streams = [None, Some(*out), None];
                self.number(&streams)?;
                self.start(id, streams, || process::job(&op))
            }
            Operation::TarIn { input, .. } => {
                let streams = [Some(*input), None, None];
                self.number(&streams)?;
                self.start(id, streams, || process::job(&op))
            }
            Operation::Survey { .. }
            | Operation::Warm
            | Operation::Mount { .. }
            | Operation::Seed { .. } => self.start(id, [None; 3], || process::job(&op)),
            Operation::Unmount { at } => {
                disks::mount::unmount(at.as_path());
                Ok(Some(Response::Done))
            }
            Operation::Signal { exec, signal } => self.signal(*exec, *signal).map(Some),
            Operation::Resize { exec, size } => self.resize(*exec, *size).map(Some),
            Operation::PowerOff | Operation::Reboot => system::may_switch(&self.port).map(|()| {
                self.power = system::Power::of(&op);
                Some(Response::Done)
            }),
            Operation::Stat { .. } | Operation::ReadLink { .. } | Operation::StatFs { .. } => {
                files::look(&op).map(Some)
            }
            Operation::Identify(identity) => {
                super::identity::identify(identity, &self.port).map(|()| Some(Response::Done))
            }
            Operation::SetClock { .. } | Operation::AddEntropy { .. } | Operation::Sync => {
                system::set(&op, &self.port).map(Some)
            }
        };
        match result {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(id, Ok(answer)),
            Err(error) => self.answer(id, Err(error)),
        }
        Ok(())
    }

    /// Checks the numbers of new streams: right in direction, and never there before.
    fn number(&mut self, streams: &[Option<StreamId>; 3]) -> Result<(), WireError> {
        for (place, stream) in streams.iter().enumerate() {
            let Some(stream) = *stream else { continue };
            if stream.runs_to_agent() != (place == 0) || stream.0.get() <= self.last_stream {
                return Err(WireError::OutOfOrder(format!("a new stream {stream}")));
            }
            self.last_stream = stream.0.get();
        }
        Ok(())
    }

    fn start(
        &mut self,
        id: u64,
        streams: [Option<StreamId>; 3],
        spawn: impl FnOnce() -> Result<Spawned, RemoteError>,
    ) -> Result<Option<Response>, RemoteError> {
        if self.tasks.len() >= MOST || self.tasks.contains_key(&id) {
            return Err(RemoteError::of(
                ErrorStage::Process,
                "a process",
                Errno::EAGAIN as i32,
            ));
        }
        let spawned = spawn()?;
        let is_terminal = spawned.terminal.is_some();
        let is_job = spawned.is_job;
        let [stdin, stdout, stderr] = streams;
        if let (Some(stream), Some(file)) = (stdin, spawned.stdin) {
            self.inputs
                .insert(stream, Input::new(id, file, is_terminal));
        }
        for (stream, file) in [(stdout, spawned.stdout), (stderr, spawned.stderr)] {
            if let (Some(stream), Some(file)) = (stream, file) {
                let output = Output::new(id, file, is_terminal, is_job);
                self.outputs.insert(stream, output);
            }
        }
        let task = Task {
            pid: spawned.pid,
            status: Some(spawned.status),
            told: Vec::new(),
            terminal: spawned.terminal,
            is_job,
            input: stdin,
            answered: false,
            verdict: None,
        };
        self.tasks.insert(id, task);
        Ok(None)
    }

    fn answer(&mut self, id: u64, result: Result<Response, RemoteError>) {
        self.say(&AgentMessage::Reply(Reply { id, result }));
    }

    /// Reads what a child tells about itself.
    pub(super) fn read_status(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let mut buffer = [0; 4096];
        while let Some(mut status) = task.status.as_ref() {
            match status.read(&mut buffer) {
                Ok(n @ 1..) => task.told.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => task.status = None,
            }
        }
        let mut lines = Vec::new();
        while let Some(end) = task.told.iter().position(|&byte| byte == b'\n') {
            lines.push(task.told.drain(..=end).collect::<Vec<u8>>());
        }
        for line in lines {
            match self.tasks.get_mut(&id) {
                Some(task) if task.answered => task.verdict = serde_json::from_slice(&line).ok(),
                Some(_) => {
                    let result = serde_json::from_slice(&line);
                    self.started(id, result.unwrap_or_else(|_| Err(died())));
                }
                None => return,
            }
        }
        let Some(task) = self.tasks.get(&id).filter(|task| task.status.is_none()) else {
            return;
        };
        if task.answered {
            self.unpacked(id);
        } else {
            let pid = task.pid.as_raw();
            let result = match task.is_job {
                true => Err(died()),
                false => Ok(Response::Started { pid }),
            };
            self.started(id, result);
        }
    }

    /// Answers the request; its streams exist from now on, or never will.
    fn started(&mut self, id: u64, result: Result<Response, RemoteError>) {
        let failed = result.is_err();
        if let Some(task) = self.tasks.get_mut(&id) {
            task.answered = true;
            if failed {
                // It ends by itself, and is reaped as a stranger.
                self.tasks.remove(&id);
            }
        }
        let of_task = |task: u64| task == id;
        if failed {
            self.inputs.retain(|_, input| !of_task(input.task));
            self.outputs.retain(|_, output| !of_task(output.task));
        }
        self.answer(id, result);
        for input in self.inputs.values_mut().filter(|i| of_task(i.task)) {
            input.open = true;
        }
        for output in self.outputs.values_mut().filter(|o| of_task(o.task)) {
            output.open = true;
        }
    }

    /// A process has ended: its input is not read any more, its output goes on to its end.
    pub(super) fn task_ended(&mut self, id: u64, end: ExecEnd) {
        // What it told, it told before.
        self.read_status(id);
        let Some(is_job) = self.tasks.get(&id).map(|task| task.is_job) else {
            return;
        };
        for (stream, input) in self.inputs.iter_mut().filter(|(_, i)| i.task == id) {
            input.close(*stream, &mut self.port);
        }
        for output in self.outputs.values_mut().filter(|o| o.task == id) {
            output.command_ended();
        }
        // A job whose stream was stopped has nobody left to tell.
        if is_job && !self.outputs.values().any(|output| output.task == id) {
            self.tasks.remove(&id);
        }
        if !is_job {
            self.tasks.remove(&id);
            self.say(&AgentMessage::Notice(Notice::Ended { exec: id, end }));
        }
    }

    /// A `TarIn` is over once it has said its last.
    fn unpacked(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if !task.is_job || task.input.is_none() {
            return;
        }
        let result = task.verdict.take().unwrap_or_else(|| Err(died()));
        self.tasks.remove(&id);
        for (stream, input) in self.inputs.iter_mut().filter(|(_, i)| i.task == id) {
            input.close(*stream, &mut self.port);
        }
        self.say(&AgentMessage::Notice(Notice::Unpacked { id, result }));
    }

    /// Ends the streams that have come to their end. A job's waits for its verdict.
    pub(super) fn end_outputs(&mut self) {
        let drained: Vec<StreamId> = (self.outputs.iter())
            .filter(|(_, output)| output.drained)
            .map(|(id, _)| *id)
            .collect();
        for stream in drained {
            let Some(output) = self.outputs.get(&stream) else {
                continue;
            };
            let task = output.task;
            let verdict = match self.tasks.get_mut(&task).filter(|_| output.is_job) {
                Some(task) if task.status.is_some() => continue,
                Some(task) => task.verdict.take().unwrap_or_else(|| Err(died())),
                None => Ok(0),
            };
            if self
                .outputs
                .remove(&stream)
                .is_some_and(|output| output.is_job)
            {
                self.tasks.remove(&task);
            }
            match verdict {
                Ok(_) => self.port.end(stream),
                Err(error) => {
                    self.say(&AgentMessage::Notice(Notice::Broken { stream, error }));
                }
            }
        }
    }

    fn command(&self, exec: u64) -> Result<&Task, RemoteError> {
        let found = self.tasks.get(&exec);
        found
            .filter(|task| !task.is_job && task.answered)
            .ok_or_else(|| RemoteError::of(ErrorStage::Process, "the command", Errno::ESRCH as i32))
    }

    fn signal(&self, exec: u64, signal: i32) -> Result<Response, RemoteError> {
        let failed = |errno| RemoteError::of(ErrorStage::Process, "the signal", errno as i32);
        let task = self.command(exec)?;
        let signal = Signal::try_from(signal).map_err(failed)?;
        killpg(task.pid, signal).map_err(failed)?;
        Ok(Response::Done)
    }

    fn resize(&self, exec: u64, size: WindowSize) -> Result<Response, RemoteError> {
        let failed = |errno| RemoteError::of(ErrorStage::Process, "the terminal", errno);
        let terminal = self.command(exec)?.terminal.as_ref();
        let terminal = terminal.ok_or_else(|| failed(Errno::ENOTTY as i32))?;
        crate::sys::set_window_size(terminal, size.rows, size.columns)
            .map_err(|error| failed(error.raw_os_error().unwrap_or(0)))?;
        Ok(Response::Done)
    }
}

fn died() -> RemoteError {
    RemoteError::new(ErrorStage::Process, "the agent's process for it died")
}
