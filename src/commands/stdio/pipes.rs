//! Copies a command's bytes between its streams in the guest and ours.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::launch::Failure;
use crate::launch::keyboard::Keyboard;
use crate::machine::stdio::{self, FlushHandle, OutputMode};
use crate::session::{Exec, SessionError, StreamReader, StreamWriter};

/// How long an output may be silent after its command has ended, until it is closed. A process that
/// the command left behind may hold it open, or a guest that never says that it is at its end.
const SILENCE: Duration = Duration::from_secs(5);

/// A command's output on its way.
#[derive(Debug, Default)]
pub(super) struct OutputSinks {
    /// Whether the command has ended.
    ended: watch::Sender<bool>,
    /// Whether it was said that an output was closed.
    said: Rc<Cell<bool>>,
    /// From the guest to our threads, until each stream is at its end.
    moving: Vec<JoinHandle<()>>,
    written: Vec<FlushHandle>,
}

/// Connects the streams of `exec` with ours. With a terminal, Ctrl-A is looked for in what is
/// typed.
pub(super) fn connect(
    exec: &mut Exec,
    has_terminal: bool,
    shown: OutputMode,
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
        outputs.add(stdout, stdio::output(shown).context(thread)?);
    }
    if let Some(stderr) = exec.stderr.take() {
        outputs.add(stderr, stdio::error_output(shown).context(thread)?);
    }
    Ok((outputs, keyboard))
}

impl OutputSinks {
    fn add(&mut self, stream: StreamReader, (sink, written): (mpsc::Sender<Vec<u8>>, FlushHandle)) {
        self.written.push(written);
        self.moving.push(tokio::task::spawn_local(drain(
            stream,
            sink,
            self.ended.subscribe(),
            Rc::clone(&self.said),
        )));
    }

    /// From here on outputs are closed that stay open and silent.
    pub fn command_ended(&self) {
        self.ended.send_replace(true);
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

/// Waits for [`SILENCE`] after the command's end.
async fn silence(ended: &mut watch::Receiver<bool>) {
    match ended.wait_for(|ended| *ended).await {
        Ok(_) => {}
        // Nobody waits for the output.
        Err(_) => std::future::pending().await,
    }
    tokio::time::sleep(SILENCE).await;
}

/// The command's output to ours, until either ends. If ours is closed, so is the command's, as a
/// pipe would be.
async fn drain(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Vec<u8>>,
    mut ended: watch::Receiver<bool>,
    said: Rc<Cell<bool>>,
) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = silence(&mut ended) => {
                if !said.replace(true) {
                    tracing::warn!(
                        "the command has ended, and its output stayed open: closed after {} s",
                        SILENCE.as_secs()
                    );
                }
                return;
            }
        };
        match read {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that says that its command has ended, and never that its output has.
    #[tokio::test]
    async fn an_output_that_stays_open_after_its_command_is_closed() {
        let (mut guest, ours) = tokio::io::duplex(64);
        let (sink, mut written) = mpsc::channel(4);
        let (ended, is_ended) = watch::channel(false);
        let said = Rc::new(Cell::new(false));
        let draining = drain(ours, sink, is_ended, Rc::clone(&said));
        let lines = async {
            guest.write_all(b"first").await.unwrap();
            ended.send_replace(true);
            tokio::time::sleep(Duration::from_secs(1)).await;
            guest.write_all(b"second").await.unwrap();
            let mut all = Vec::new();
            while let Some(bytes) = written.recv().await {
                all.extend(bytes);
            }
            all
        };
        let both = async { tokio::join!(draining, lines).1 };
        let all = tokio::time::timeout(3 * SILENCE, both).await.unwrap();
        assert_eq!(all, b"firstsecond");
        assert!(said.get());
    }
}
