//! Handles the host's requests: answers those that are quick, and starts a process for the others.

use nix::errno::Errno;
use nix::sys::reboot::RebootMode;
use nix::sys::signal::{Signal, killpg};

use super::detached::Detached;
use super::port::Port;
use super::power;
use super::process::{self, Spawned};
use super::streams::{Input, Output};
use super::tasks::Tasks;
use super::{clone_identity, details, files, mount, short_work, worker};
use crate::protocol::{
    ErrorStage, Operation, RemoteError, Request, Response, StreamId, WindowSize, WireError, parse,
};

#[derive(Default)]
pub(crate) struct Requests {
    /// Whether the agent is the appliance's, which has nothing else to do.
    is_of_appliance: bool,
    pub(crate) tasks: Tasks,
    pub(crate) detached: Detached,
    /// The highest number of a stream so far.
    last_stream: u32,
    /// What to do with the machine once all output is written.
    pub(crate) power: Option<RebootMode>,
}

impl Requests {
    pub(crate) fn new(is_of_appliance: bool) -> Self {
        Self {
            is_of_appliance,
            ..Self::default()
        }
    }

    /// Handles a request. Fails if it is malformed, or if the number of a stream is wrong.
    pub(crate) fn handle(&mut self, json: &[u8], port: &mut Port) -> Result<(), WireError> {
        let Request { id, op } = parse("request", json)?;
        let streams = streams(&op);
        self.check_numbers(&streams)?;
        let is_of_appliance = self.is_of_appliance;
        let spawn = || worker::spawn(&op, is_of_appliance);
        let answer = match &op {
            Operation::Exec { command, .. } => {
                let wanted = streams.map(|stream| stream.is_some());
                match command.pty.is_some() && (!wanted[1] || wanted[2]) {
                    true => Err(RemoteError::new(
                        ErrorStage::Request,
                        "a terminal has exactly one output, stdout",
                    )),
                    false => self.start(id, streams, || process::command(command, wanted)),
                }
            }
            op if is_of_appliance && short_work::is_of_disks(op) => {
                short_work::answer(op).map(Some)
            }
            Operation::List { out, .. }
            | Operation::Walk { out, .. }
            | Operation::ListTree { out, .. }
            | Operation::Contents { out, .. }
            | Operation::Details { out, .. }
            | Operation::Read { out, .. }
                if is_of_appliance =>
            {
                match short_work::output(&op) {
                    Some((stat, bytes)) => {
                        port.reply(id, Ok(Response::Opened { stat }));
                        port.data(*out, &bytes);
                        port.end(*out);
                        Ok(None)
                    }
                    None => match short_work::stream(id, &op) {
                        Some((stat, output)) => {
                            port.reply(id, Ok(Response::Opened { stat }));
                            self.tasks.outputs.insert(*out, output);
                            Ok(None)
                        }
                        None => self.start(id, streams, spawn),
                    },
                }
            }
            Operation::List { .. }
            | Operation::Walk { .. }
            | Operation::WalkSorted { .. }
            | Operation::Details { .. }
            | Operation::ListTree { .. }
            | Operation::Contents { .. }
            | Operation::Read { .. }
            | Operation::TarOut { .. }
            | Operation::TarIn { .. }
            | Operation::Survey { .. }
            | Operation::KeptSurvey { .. }
            | Operation::SurveyUnlocking { .. }
            | Operation::Unlock { .. }
            | Operation::Warm
            | Operation::Mount { .. }
            | Operation::Inject { .. } => self.start(id, streams, spawn),
            op => self.answer(op, port).map(Some),
        };
        if let Some(result) = answer.transpose() {
            port.reply(id, result);
        }
        Ok(())
    }

    fn answer(&mut self, op: &Operation, port: &mut Port) -> Result<Response, RemoteError> {
        match op {
            Operation::Stat { at, follow } => return files::stat(at, *follow),
            Operation::ReadLink { at } => return files::read_link(at),
            Operation::Attributes { at } => return details::attributes_of_path(at),
            Operation::StatFs { at } => return files::stat_fs(at),
            Operation::Unmount { at } => mount::kept::unmount(at),
            Operation::Signal { exec, signal } => self.signal(*exec, *signal)?,
            Operation::Resize { exec, size } => self.resize(*exec, *size)?,
            Operation::Identify(identity) => clone_identity::set(identity, port)?,
            Operation::SetClock {
                seconds,
                nanoseconds,
            } => clone_identity::set_clock(port, *seconds, *nanoseconds)?,
            Operation::AddEntropy { bytes } => clone_identity::add_entropy(&bytes.0)?,
            Operation::PlaceData => port
                .place_data()
                .map_err(|error| RemoteError::of(ErrorStage::Request, "placing data", error))?,
            Operation::Sync => nix::unistd::sync(),
            Operation::PowerOff => self.set_power(RebootMode::RB_POWER_OFF, port)?,
            Operation::Reboot => self.set_power(RebootMode::RB_AUTOBOOT, port)?,
            _ => return Err(RemoteError::new(ErrorStage::Request, "not a quick request")),
        }
        Ok(Response::Done)
    }

    pub(crate) fn input(&mut self, stream: StreamId, kind: u8) -> Result<&mut Input, WireError> {
        let found = self.tasks.inputs.get_mut(&stream);
        found.ok_or(WireError::NotOpen { kind, stream })
    }

    /// The output stream of this number; `None` if it is over and the host's frame crossed with
    /// its end.
    pub(crate) fn output(
        &mut self,
        stream: StreamId,
        kind: u8,
    ) -> Result<Option<&mut Output>, WireError> {
        if stream.runs_to_agent() || stream.0.get() > self.last_stream {
            return Err(WireError::NotOpen { kind, stream });
        }
        Ok(self.tasks.outputs.get_mut(&stream))
    }

    /// Ends everything.
    pub(crate) fn clear(&mut self) {
        self.detached.clear();
        self.tasks.clear();
        self.last_stream = 0;
    }

    /// Ends everything but commands, which go on without a host.
    pub(crate) fn detach(&mut self) {
        self.tasks.detach(&mut self.detached);
        self.last_stream = 0;
    }

    /// Checks that new streams have the right direction and a number that was never used.
    fn check_numbers(&mut self, streams: &[Option<StreamId>; 3]) -> Result<(), WireError> {
        for (index, stream) in streams.iter().enumerate() {
            let Some(stream) = *stream else { continue };
            if stream.runs_to_agent() != (index == 0) || stream.0.get() <= self.last_stream {
                return Err(WireError::OutOfOrder(format!("a new stream {stream}")));
            }
            self.last_stream = stream.0.get();
        }
        Ok(())
    }

    /// Starts a process; it is answered once the process reports.
    fn start(
        &mut self,
        id: u64,
        streams: [Option<StreamId>; 3],
        spawn: impl FnOnce() -> Result<Spawned, RemoteError>,
    ) -> Result<Option<Response>, RemoteError> {
        if !self.tasks.can_add(id) {
            return Err(RemoteError::of(
                ErrorStage::Process,
                "a process",
                Errno::EAGAIN,
            ));
        }
        self.tasks.add(id, streams, spawn()?);
        Ok(None)
    }

    fn set_power(&mut self, action: RebootMode, port: &Port) -> Result<(), RemoteError> {
        power::may_change_machine(port)?;
        self.power = Some(action);
        Ok(())
    }

    fn signal(&self, exec: u64, signal: i32) -> Result<(), RemoteError> {
        let failed = |errno| RemoteError::of(ErrorStage::Process, "the signal", errno);
        let command = self.tasks.command(exec)?;
        let signal = Signal::try_from(signal).map_err(failed)?;
        killpg(command.pid, signal).map_err(failed)
    }

    fn resize(&self, exec: u64, size: WindowSize) -> Result<(), RemoteError> {
        let terminal = self.tasks.command(exec)?.terminal.as_ref();
        terminal
            .ok_or_else(|| Errno::ENOTTY.into())
            .and_then(|terminal| crate::sys::set_window_size(terminal, size.rows, size.columns))
            .map_err(|error| RemoteError::of(ErrorStage::Process, "the terminal", error))
    }
}

/// The streams that a request opens: its input and up to two outputs.
fn streams(op: &Operation) -> [Option<StreamId>; 3] {
    match op {
        Operation::Exec { streams, .. } => *streams,
        Operation::List { out, .. }
        | Operation::Walk { out, .. }
        | Operation::WalkSorted { out, .. }
        | Operation::Details { out, .. }
        | Operation::ListTree { out, .. }
        | Operation::Contents { out, .. }
        | Operation::Read { out, .. }
        | Operation::TarOut { out, .. } => [None, Some(*out), None],
        Operation::TarIn { input, .. } => [Some(*input), None, None],
        _ => [None; 3],
    }
}
