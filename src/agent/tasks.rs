//! The processes that requests started, commands and workers, with their streams.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::detached::Detached;
use super::port::{Port, is_transient};
use super::process::Spawned;
use super::streams::{Input, Output};
use crate::protocol::{AgentMessage, ErrorStage, ExecEnd, Notice, RemoteError, Response, StreamId};

const MAX_TASKS: usize = 100;

pub(crate) struct Task {
    /// The process, and its process group.
    pub(crate) pid: Pid,
    /// Where it reports, until that pipe is at its end.
    status: Option<File>,
    /// What it reported, up to the first complete line.
    received: Vec<u8>,
    pub(crate) terminal: Option<File>,
    is_worker: bool,
    /// The input of a `TarIn`.
    input: Option<StreamId>,
    answered: bool,
    result: Option<Result<u64, RemoteError>>,
}

impl Task {
    fn kill(&self) {
        // It may have ended, or not yet made its own group.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<u64, Task>,
    pub(crate) inputs: BTreeMap<StreamId, Input>,
    pub(crate) outputs: BTreeMap<StreamId, Output>,
}

impl Tasks {
    /// Whether there may be another task, of this id.
    pub(crate) fn can_add(&self, id: u64) -> bool {
        self.tasks.len() < MAX_TASKS && !self.tasks.contains_key(&id)
    }

    pub(crate) fn add(&mut self, id: u64, streams: [Option<StreamId>; 3], spawned: Spawned) {
        let is_terminal = spawned.terminal.is_some();
        let is_worker = spawned.is_worker;
        let [stdin, stdout, stderr] = streams;
        if let (Some(stream), Some(file)) = (stdin, spawned.stdin) {
            let input = Input::new(id, file, is_terminal);
            self.inputs.insert(stream, input);
        }
        for (stream, file) in [(stdout, spawned.stdout), (stderr, spawned.stderr)] {
            if let (Some(stream), Some(file)) = (stream, file) {
                let output = Output::new(id, file, is_terminal, is_worker);
                self.outputs.insert(stream, output);
            }
        }
        let task = Task {
            pid: spawned.pid,
            status: Some(spawned.status),
            received: Vec::new(),
            terminal: spawned.terminal,
            is_worker,
            input: stdin,
            answered: false,
            result: None,
        };
        self.tasks.insert(id, task);
    }

    /// Gives up every command, and kills every other process.
    pub(crate) fn detach(&mut self, to: &mut Detached) {
        let workers = self.tasks.values().filter(|task| task.is_worker);
        workers.for_each(Task::kill);
        let commands = std::mem::take(self);
        let is_worker = |id| commands.tasks.get(&id).is_none_or(|task| task.is_worker);
        let pid = |id| commands.tasks.get(&id).map(|task| task.pid);
        for input in commands.inputs.into_values() {
            if let (Some(file), Some(pid), false) =
                (input.file, pid(input.task), is_worker(input.task))
            {
                to.add_input(pid, file, input.buffer);
            }
        }
        for output in commands
            .outputs
            .into_values()
            .filter(|output| !output.is_worker)
        {
            to.add_output(output.file);
        }
        for task in commands.tasks.into_values().filter(|task| !task.is_worker) {
            to.keep(task.pid, task.terminal);
        }
    }

    /// Kills every process, and drops its streams.
    pub(crate) fn clear(&mut self) {
        for task in self.tasks.values() {
            task.kill();
        }
        *self = Self::default();
    }

    pub(crate) fn statuses(&self) -> impl Iterator<Item = (u64, &File)> {
        let tasks = self.tasks.iter();
        tasks.filter_map(|(id, task)| Some((*id, task.status.as_ref()?)))
    }

    /// The running command of this request.
    pub(crate) fn command(&self, exec: u64) -> Result<&Task, RemoteError> {
        let found = self.tasks.get(&exec);
        found
            .filter(|task| !task.is_worker && task.answered)
            .ok_or_else(|| RemoteError::of(ErrorStage::Process, "the command", Errno::ESRCH))
    }

    /// Reads what a process reports about itself.
    pub(crate) fn read_status(&mut self, id: u64, port: &mut Port) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let mut buffer = [0; 4096];
        while let Some(mut status) = task.status.as_ref() {
            match status.read(&mut buffer) {
                Ok(n @ 1..) => task.received.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => task.status = None,
            }
        }
        while let Some(task) = self.tasks.get_mut(&id)
            && let Some(end) = task.received.iter().position(|&byte| byte == b'\n')
        {
            let line: Vec<u8> = task.received.drain(..=end).collect();
            if task.answered {
                task.result = serde_json::from_slice(&line).ok();
            } else {
                let result = serde_json::from_slice(&line);
                self.started(id, result.unwrap_or_else(|_| Err(died())), port);
            }
        }
        let Some(task) = self.tasks.get(&id).filter(|task| task.status.is_none()) else {
            return;
        };
        if task.answered {
            self.finish_unpacking(id, port);
        } else {
            let pid = task.pid.as_raw();
            let result = match task.is_worker {
                true => Err(died()),
                // The pipe was closed by execve(2).
                false => Ok(Response::Started { pid }),
            };
            self.started(id, result, port);
        }
    }

    /// Answers the request. Its streams exist from now on if it succeeded.
    fn started(&mut self, id: u64, result: Result<Response, RemoteError>, port: &mut Port) {
        if result.is_ok() {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.answered = true;
            }
        } else {
            // The process ends by itself, and is reaped like an orphan.
            self.tasks.remove(&id);
            self.inputs.retain(|_, input| input.task != id);
            self.outputs.retain(|_, output| output.task != id);
        }
        port.reply(id, result);
        for input in self.inputs.values_mut().filter(|i| i.task == id) {
            input.open = true;
        }
        for output in self.outputs.values_mut().filter(|o| o.task == id) {
            output.open = true;
        }
    }

    /// A child process ended: its input is closed, and its output is sent to the end.
    pub(crate) fn process_ended(&mut self, pid: Pid, end: ExecEnd, port: &mut Port) {
        let found = self.tasks.iter().find(|(_, task)| task.pid == pid);
        let Some(id) = found.map(|(id, _)| *id) else {
            return;
        };
        // What it reported may not have been read.
        self.read_status(id, port);
        let Some(is_worker) = self.tasks.get(&id).map(|task| task.is_worker) else {
            return;
        };
        self.close_inputs(id, port);
        for output in self.outputs.values_mut().filter(|o| o.task == id) {
            output.command_ended();
        }
        // A worker's result is sent at the end of its output, if it has one.
        if !is_worker || !self.outputs.values().any(|output| output.task == id) {
            self.tasks.remove(&id);
        }
        if !is_worker {
            port.send(AgentMessage::Notice(Notice::Ended { exec: id, end }));
        }
    }

    fn close_inputs(&mut self, id: u64, port: &mut Port) {
        for (stream, input) in self.inputs.iter_mut().filter(|(_, i)| i.task == id) {
            input.close(*stream, port);
        }
    }

    /// Sends the result of a `TarIn`, whose status pipe is at its end.
    fn finish_unpacking(&mut self, id: u64, port: &mut Port) {
        let task = self.tasks.get_mut(&id);
        let Some(task) = task.filter(|task| task.is_worker && task.input.is_some()) else {
            return;
        };
        let result = task.result.take().unwrap_or_else(|| Err(died()));
        self.tasks.remove(&id);
        self.close_inputs(id, port);
        port.send(AgentMessage::Notice(Notice::Unpacked { id, result }));
    }

    /// The host wants no more of an output. A command gets SIGPIPE, as from any reader that is
    /// gone; a worker is killed, because it may have much to do before it writes again.
    pub(crate) fn stop_output(&mut self, stream: StreamId, port: &mut Port) {
        let Some(output) = self.outputs.remove(&stream) else {
            return;
        };
        port.end(stream);
        if output.is_worker
            && let Some(worker) = self.tasks.remove(&output.task)
        {
            worker.kill();
        }
    }

    /// Ends the streams whose descriptor is at its end. Those of workers wait for the result.
    pub(crate) fn end_outputs(&mut self, port: &mut Port) {
        let drained: Vec<StreamId> = (self.outputs.iter())
            .filter(|(_, output)| output.drained)
            .map(|(id, _)| *id)
            .collect();
        for stream in drained {
            let Some(output) = self.outputs.get(&stream) else {
                continue;
            };
            let (id, is_worker) = (output.task, output.is_worker);
            let result = match self.tasks.get_mut(&id).filter(|_| is_worker) {
                Some(task) if task.status.is_some() => continue,
                Some(task) => task.result.take().unwrap_or_else(|| Err(died())),
                None => output.error.clone().map_or(Ok(0), Err),
            };
            self.outputs.remove(&stream);
            if is_worker {
                self.tasks.remove(&id);
            }
            match result {
                Ok(_) => port.end(stream),
                Err(error) => {
                    port.send(AgentMessage::Notice(Notice::Broken { stream, error }));
                }
            }
        }
    }
}

fn died() -> RemoteError {
    RemoteError::new(ErrorStage::Process, "the agent's process for it died")
}
