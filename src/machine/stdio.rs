//! Standard input and output as channels. Each has its own thread, because a read or write may block
//! for as long as the user likes, while signals and timeouts must be handled. The threads end with
//! the process.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::terminal;
use super::terminal_filter::TerminalFilter;
use crate::text::escape::Escaper;

/// Chunks of standard input. The channel closes at its end.
pub fn input() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (send, receive) = mpsc::channel(4);
    thread::Builder::new().spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    terminal::look_for_answer(&buffer[..n]);
                    if send.blocking_send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!("reading standard input: {error}");
                    return;
                }
            }
        }
    })?;
    Ok(receive)
}

/// Resolves when everything that was sent is written, or to the error.
pub type FlushHandle = oneshot::Receiver<io::Result<()>>;

/// What may reach our terminal of a guest's output. To a file or a pipe all of it goes.
#[derive(Clone, Copy, Debug)]
pub enum OutputMode {
    /// What [`TerminalFilter`] passes: the guest uses the terminal.
    Terminal,
    /// Text alone, the rest escaped.
    Text,
}

/// A channel whose chunks are written to standard output. Sending fails when nothing more can be
/// written.
pub fn output(shown: OutputMode) -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    // Not locked for the thread's life: a panic's message must still come out.
    to(io::stdout(), shown, || ())
}

/// [`output`] for a guest's console on the terminal. `first` is called before its first bytes are written.
pub fn console_output(first: fn()) -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    to(io::stdout(), OutputMode::Terminal, first)
}

pub fn output_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// [`output`] for standard error.
pub fn error_output(shown: OutputMode) -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    to(io::stderr(), shown, || ())
}

enum Filter {
    None,
    Terminal(TerminalFilter),
    Text(Escaper),
}

impl Filter {
    fn take(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::None => bytes,
            Self::Terminal(filter) => filter.take(&bytes),
            Self::Text(escaper) => {
                let mut out = Vec::new();
                escaper.take(&bytes, &mut out);
                out
            }
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::None | Self::Terminal(_) => {}
            Self::Text(escaper) => escaper.rest(&mut out),
        }
        out
    }
}

fn to(
    mut sink: impl Write + IsTerminal + Send + 'static,
    shown: OutputMode,
    first: fn(),
) -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(16);
    let (finished, done) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        let mut filter = match shown {
            _ if !sink.is_terminal() => Filter::None,
            OutputMode::Terminal => Filter::Terminal(TerminalFilter::default()),
            OutputMode::Text => Filter::Text(Escaper::default()),
        };
        let mut write = |bytes: &[u8]| sink.write_all(bytes).and_then(|()| sink.flush());
        let mut first = Some(first);
        while let Some(bytes) = receive.blocking_recv() {
            if let Some(first) = first.take() {
                first();
            }
            let bytes = filter.take(bytes);
            if let Err(error) = write(&bytes) {
                // Before `receive` is dropped and the sender sees an error.
                let _ = finished.send(Err(error));
                return;
            }
        }
        let _ = finished.send(write(&filter.rest()));
    })?;
    Ok((send, done))
}
