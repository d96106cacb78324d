//! What moves a command's bytes between its streams in the guest and ours.

use std::collections::VecDeque;
use std::io;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::commands::Failure;
use crate::guest::session::{Exec, SessionError, StreamReader, StreamWriter};
use crate::machine::stdio::{self, Written};
use crate::machine::terminal::{Escapes, Key};

/// What a key sequence asks for, besides bytes for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Ctrl-A X: end the machine.
    Leave,
    /// Ctrl-A H: say what the keys are.
    Help,
    /// Ctrl-A Z: stop bivouac.
    Suspend,
}

/// What a command says, on its way.
#[derive(Debug, Default)]
pub struct Outputs {
    /// From the guest to our threads, until each stream is at its end.
    moving: Vec<JoinHandle<()>>,
    written: Vec<Written>,
}

/// What is typed at our terminal, where we have one, and where it goes.
#[derive(Debug, Default)]
pub struct Keys {
    typed: Option<mpsc::Receiver<Vec<u8>>>,
    to_guest: Option<mpsc::Sender<Vec<u8>>>,
    escapes: Escapes,
    meant: VecDeque<Typed>,
}

/// Connects the streams of `exec` with ours. With a terminal, Ctrl-A is looked for in what is
/// typed.
///
/// # Errors
/// No thread can be started.
pub fn lay(exec: &mut Exec, terminal: bool) -> Result<(Outputs, Keys), Failure> {
    let (mut outputs, mut keys) = (Outputs::default(), Keys::default());
    let thread = "starting a thread for the command's streams";
    if let Some(stdin) = exec.stdin.take() {
        let input = stdio::input().context(thread)?;
        match terminal {
            true => {
                let (to_guest, typed) = mpsc::channel(1024);
                keys.typed = Some(input);
                keys.to_guest = Some(to_guest);
                tokio::task::spawn_local(feed(stdin, typed));
            }
            false => drop(tokio::task::spawn_local(feed(stdin, input))),
        }
    }
    if let Some(stdout) = exec.stdout.take() {
        outputs.add(stdout, stdio::output().context(thread)?);
    }
    if let Some(stderr) = exec.stderr.take() {
        outputs.add(stderr, stdio::error_output().context(thread)?);
    }
    Ok((outputs, keys))
}

impl Outputs {
    fn add(&mut self, stream: StreamReader, (sink, written): (mpsc::Sender<Vec<u8>>, Written)) {
        self.written.push(written);
        self.moving
            .push(tokio::task::spawn_local(drain(stream, sink)));
    }

    /// Whether every output has come to its end.
    pub fn are_dry(&self) -> bool {
        self.moving.iter().all(JoinHandle::is_finished)
    }

    /// Waits until one more output has come to its end; for ever where none is left.
    pub async fn dried(&mut self) {
        match self.moving.iter_mut().find(|output| !output.is_finished()) {
            Some(output) => drop(output.await),
            None => std::future::pending().await,
        }
    }

    /// Waits until all that came is written. May be dropped and called again.
    pub async fn written(&mut self) {
        while let Some(written) = self.written.first_mut() {
            if let Ok(Err(error)) = written.await
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                tracing::warn!("writing the command's output: {error}");
            }
            self.written.remove(0);
        }
    }
}

impl Keys {
    /// Whether we have a terminal.
    pub fn has_terminal(&self) -> bool {
        self.to_guest.is_some()
    }

    /// Passes what is typed on, until something else is meant by it.
    pub async fn typed(&mut self) -> Typed {
        loop {
            if let Some(meant) = self.meant.pop_front() {
                return meant;
            }
            let Some(keys) = &mut self.typed else {
                return std::future::pending().await;
            };
            let Some(typed) = keys.recv().await else {
                // End-of-file: the guest gets it too.
                (self.typed, self.to_guest) = (None, None);
                continue;
            };
            for key in self.escapes.take(&typed) {
                match key {
                    // A guest that reads nothing must not keep us from Ctrl-A X.
                    Key::Pass(bytes) => {
                        if let Some(to_guest) = &self.to_guest {
                            let _ = to_guest.try_send(bytes);
                        }
                    }
                    Key::Leave => self.meant.push_back(Typed::Leave),
                    Key::Help => self.meant.push_back(Typed::Help),
                    Key::Suspend => self.meant.push_back(Typed::Suspend),
                }
            }
        }
    }
}

/// Our input to the command's, until either ends.
async fn feed(mut stdin: StreamWriter, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

/// The command's output to ours, until either ends. Where nobody reads ours, the command is told
/// as by a closed pipe.
async fn drain(mut from: StreamReader, to: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(n) => {
                if to.send(buffer[..n].to_vec()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                match SessionError::of_stream(error) {
                    // The command may end well, and who reads this must know all the same.
                    SessionError::Refused(why) => {
                        tracing::warn!("the command's output is not whole: {why}");
                    }
                    // Whoever waits for the command is told.
                    error => tracing::debug!("the command's output: {error}"),
                }
                return;
            }
        }
    }
}
