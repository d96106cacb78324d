//! Commands whose conversation is over but which go on, as in a branch of a machine: what they write
//! is read and dropped, so that they neither block nor get SIGPIPE, and their input stays open.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::port::is_transient;

#[derive(Default)]
pub(crate) struct Detached {
    /// Each with what keeps its terminal open.
    commands: Vec<(Pid, Option<File>)>,
    streams: Vec<Stream>,
}

struct Stream {
    /// `None` once it is over.
    file: Option<File>,
    /// The command that reads it, if one does, and what it was sent before.
    input: Option<(Pid, VecDeque<u8>)>,
}

impl Detached {
    pub(crate) fn keep(&mut self, pid: Pid, terminal: Option<File>) {
        self.commands.push((pid, terminal));
    }

    pub(crate) fn add_input(&mut self, pid: Pid, file: File, buffer: VecDeque<u8>) {
        self.streams.push(Stream {
            file: Some(file),
            input: Some((pid, buffer)),
        });
    }

    pub(crate) fn add_output(&mut self, file: File) {
        self.streams.push(Stream {
            file: Some(file),
            input: None,
        });
    }

    /// What to poll, by a number that is good for the next [`Detached::pump`].
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &File, PollFlags)> {
        let streams = self.streams.iter().enumerate();
        streams.filter_map(|(index, stream)| {
            let wanted = match &stream.input {
                None => PollFlags::POLLIN,
                Some((_, rest)) if !rest.is_empty() => PollFlags::POLLOUT,
                Some(_) => return None,
            };
            Some((index, stream.file.as_ref()?, wanted))
        })
    }

    pub(crate) fn pump(&mut self, ready: &[usize], scratch: &mut [u8]) {
        for index in ready {
            let Some(stream) = self.streams.get_mut(*index) else {
                continue;
            };
            if stream
                .pump(scratch)
                .is_err_and(|error| !is_transient(&error))
            {
                stream.file = None;
            }
        }
        self.streams.retain(|stream| stream.file.is_some());
    }

    /// Closes the input of a command that ended. What others that it started write is still read.
    pub(crate) fn process_ended(&mut self, ended: Pid) {
        self.commands.retain(|(pid, _)| *pid != ended);
        let of_other = |stream: &Stream| stream.input.as_ref().is_none_or(|(pid, _)| *pid != ended);
        self.streams.retain(of_other);
    }

    /// Kills every command.
    pub(crate) fn clear(&mut self) {
        for (pid, _) in &self.commands {
            let _ = killpg(*pid, Signal::SIGKILL);
            let _ = kill(*pid, Signal::SIGKILL);
        }
        *self = Self::default();
    }
}

impl Stream {
    fn pump(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref() else {
            return Ok(());
        };
        match &mut self.input {
            None => match file.read(scratch)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            },
            Some((_, rest)) => {
                let written = file.write(rest.as_slices().0)?;
                rest.drain(..written);
                Ok(())
            }
        }
    }
}
