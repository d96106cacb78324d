//! Standard input and output as channels. Each has its own thread, because a read or write may block
//! for as long as the user likes, while signals and timeouts must be handled. The threads end with
//! the process.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::terminal_filter::TerminalFilter;

/// Chunks of standard input. The channel closes at its end.
pub fn input() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (send, receive) = mpsc::channel(4);
    thread::Builder::new().spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) if send.blocking_send(buffer[..n].to_vec()).is_err() => return,
                Ok(_) => {}
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

/// A channel whose chunks are written to standard output, by way of [`TerminalFilter`] if it is a
/// terminal. Sending fails when nothing more can be written.
pub fn output() -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    // Not locked for the thread's life: a panic's message must still come out.
    to(io::stdout())
}

pub fn output_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// [`output`] for standard error.
pub fn error_output() -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    to(io::stderr())
}

fn to(
    mut sink: impl Write + IsTerminal + Send + 'static,
) -> io::Result<(mpsc::Sender<Vec<u8>>, FlushHandle)> {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(16);
    let (finished, done) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        let mut filter = sink.is_terminal().then(TerminalFilter::default);
        let mut write = |bytes: &[u8]| sink.write_all(bytes).and_then(|()| sink.flush());
        while let Some(bytes) = receive.blocking_recv() {
            let bytes = match &mut filter {
                Some(filter) => filter.take(&bytes),
                None => bytes,
            };
            if let Err(error) = write(&bytes) {
                // Before `receive` is dropped and the sender sees an error.
                let _ = finished.send(Err(error));
                return;
            }
        }
        let rest = filter.map(|mut filter| filter.rest()).unwrap_or_default();
        let _ = finished.send(write(&rest));
    })?;
    Ok((send, done))
}
