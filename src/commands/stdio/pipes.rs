//! Copies a command's bytes between its streams in the guest and ours.

use std::io;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::launch::Failure;
use crate::launch::keyboard::Keyboard;
use crate::machine::stdio::{self, FlushHandle};
use crate::session::{Exec, SessionError, StreamReader, StreamWriter};

/// A command's output on its way.
#[derive(Debug, Default)]
pub(super) struct OutputSinks {
    /// From the guest to our threads, until each stream is at its end.
    moving: Vec<JoinHandle<()>>,
    written: Vec<FlushHandle>,
}

/// Connects the streams of `exec` with ours. With a terminal, Ctrl-A is looked for in what is
/// typed.
pub(super) fn connect(
    exec: &mut Exec,
    has_terminal: bool,
) -> Result<(OutputSinks, Keyboard), Failure> {
    let (mut outputs, mut keyboard) = (OutputSinks::default(), Keyboard::default());
    let thread = "starting a thread for the command's streams";
    if let Some(stdin) = exec.stdin.take() {
        let input = stdio::input().context(thread)?;
        match has_terminal {
            true => {
                let (to_guest, typed) = mpsc::channel(1024);
                keyboard = Keyboard::new(input, to_guest);
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
    Ok((outputs, keyboard))
}

impl OutputSinks {
    fn add(&mut self, stream: StreamReader, (sink, written): (mpsc::Sender<Vec<u8>>, FlushHandle)) {
        self.written.push(written);
        self.moving
            .push(tokio::task::spawn_local(drain(stream, sink)));
    }

    /// Whether every output has come to its end.
    pub fn are_dry(&self) -> bool {
        self.moving.iter().all(JoinHandle::is_finished)
    }

    /// Waits until one more output has come to its end; for ever if none is left.
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

/// Our input to the command's, until either ends.
async fn feed(mut stdin: StreamWriter, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
}

/// The command's output to ours, until either ends. If ours is closed, so is the command's, as a
/// pipe would be.
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
                    // The command may still end well, so this has to be printed.
                    SessionError::Refused(why) => {
                        tracing::warn!("the command's output is not whole: {why}");
                    }
                    // The wait for the command reports it.
                    error => tracing::debug!("the command's output: {error}"),
                }
                return;
            }
        }
    }
}
