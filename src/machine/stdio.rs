//! Standard input and output as channels. A thread of its own for each, because a read or
//! write there may block for as long as the user pleases, and signals and time-outs must be
//! heeded meanwhile. The threads end with the process.

#![allow(clippy::disallowed_methods)]

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::scrub::Scrub;

/// Chunks of standard input; the channel closes at its end.
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

/// Tells when all that was sent is written, or why it could not be.
pub type Written = oneshot::Receiver<io::Result<()>>;

/// A channel whose chunks are written to standard output, scrubbed where it is a terminal.
/// Sending fails once nothing more can be written. The second value tells when all that was
/// sent is written, or why it could not be.
pub fn output() -> io::Result<(mpsc::Sender<Vec<u8>>, Written)> {
    // Not locked for the thread's life: a panic's message must still come out.
    to(io::stdout())
}

/// Whether a person reads standard output.
pub fn output_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// As [`output`], to standard error.
pub fn error_output() -> io::Result<(mpsc::Sender<Vec<u8>>, Written)> {
    to(io::stderr())
}

fn to(
    mut sink: impl Write + IsTerminal + Send + 'static,
) -> io::Result<(mpsc::Sender<Vec<u8>>, Written)> {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(16);
    let (finished, done) = oneshot::channel();
    thread::Builder::new().spawn(move || {
        let mut scrub = sink.is_terminal().then(Scrub::default);
        let mut write = |bytes: &[u8]| sink.write_all(bytes).and_then(|()| sink.flush());
        while let Some(bytes) = receive.blocking_recv() {
            let bytes = match &mut scrub {
                Some(scrub) => scrub.take(&bytes),
                None => bytes,
            };
            if let Err(error) = write(&bytes) {
                // Before `receive` is dropped and the sender learns that something is wrong.
                let _ = finished.send(Err(error));
                return;
            }
        }
        let rest = scrub.map(|mut scrub| scrub.rest()).unwrap_or_default();
        let _ = finished.send(write(&rest));
    })?;
    Ok((send, done))
}
