//! Standard input and output as channels. A thread of its own for each, because a read or
//! write there may block for as long as the user pleases, and signals and time-outs must be
//! heeded meanwhile. The threads end with the process.

use std::io::{self, Read, Write};

use tokio::sync::{mpsc, oneshot};

/// Chunks of standard input; the channel closes at its end.
pub fn input() -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; 4096];
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
    });
    receive
}

/// A channel whose chunks are written to standard output. Sending fails once the reader of
/// a pipe has gone. The second value tells when all that was sent is written.
pub fn output() -> (mpsc::Sender<Vec<u8>>, oneshot::Receiver<()>) {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(16);
    let (finished, done) = oneshot::channel();
    std::thread::spawn(move || {
        // Not locked for the thread's life: a panic's message must still come out.
        while let Some(bytes) = receive.blocking_recv() {
            let mut stdout = io::stdout();
            if stdout
                .write_all(&bytes)
                .and_then(|()| stdout.flush())
                .is_err()
            {
                return;
            }
        }
        let _ = finished.send(());
    });
    (send, done)
}
