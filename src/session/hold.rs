//! Keeps a session from sending while its guest is saved: a message of which one half is in the guest
//! and one half is not could not be completed in a branch.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Session;
use super::error::SessionError;
use super::messages::{ActorCommand, Hold};

/// While it exists, a session sends nothing.
#[derive(Debug)]
pub(crate) struct Held {
    /// Dropped, it tells the actor.
    _release: oneshot::Sender<()>,
}

impl Session {
    /// Waits up to `limit` until the guest has everything that was sent to it, and sends nothing more
    /// until the result is dropped. None if the guest does not read.
    pub(crate) async fn hold(&self, limit: Duration) -> Result<Option<Held>, SessionError> {
        let (ready, is_ready) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let ready = Some(ready);
        // Dropped if the session is over; so is the sender of the answer.
        let _ = self
            .actor
            .send(ActorCommand::Hold(Hold { ready, released }));
        match tokio::time::timeout(limit, is_ready).await {
            Ok(Ok(())) => Ok(Some(Held { _release: release })),
            Ok(Err(_)) => Err(self.reason.get()),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::protocol::{Decoder, Frame, Role, put_hello};

    const SOON: Duration = Duration::from_secs(60);

    /// A session, and the guest's end of its channel.
    async fn session() -> (Session, UnixStream) {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let greet = async {
            let mut decoder = Decoder::new();
            loop {
                let mut buffer = [0; 4096];
                let n = guest.read(&mut buffer).await.unwrap();
                decoder.push(&buffer[..n]);
                if let Some(Frame::Hello(mut hello)) = decoder.next().unwrap() {
                    hello.from = Role::Agent;
                    let mut answer = Vec::new();
                    put_hello(&mut answer, &hello).unwrap();
                    guest.write_all(&answer).await.unwrap();
                    break;
                }
            }
        };
        let (session, ()) = tokio::join!(Session::connect(host, SOON), greet);
        (session.unwrap(), guest)
    }

    /// Sends a request that nobody answers.
    fn ask(session: &Session) -> tokio::task::JoinHandle<Result<(), SessionError>> {
        let session = session.clone();
        tokio::spawn(async move { session.sync().await })
    }

    #[tokio::test]
    async fn nothing_is_sent_while_a_session_is_held() {
        let (session, mut guest) = session().await;
        let held = session.hold(SOON).await.unwrap().unwrap();
        let request = ask(&session);
        // It would have been sent by now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut buffer = [0; 4096];
        let read = guest.try_read(&mut buffer);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(held);
        assert!(guest.read(&mut buffer).await.unwrap() > 0);
        request.abort();
    }

    #[tokio::test]
    async fn it_is_held_only_when_the_guest_has_read_everything() {
        let (session, mut guest) = session().await;
        let request = ask(&session);
        tokio::task::yield_now().await;
        let none = session.hold(Duration::from_millis(50)).await.unwrap();
        assert!(none.is_none());
        // Requests go on after that.
        let more = ask(&session);
        let mut buffer = [0; 4096];
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.hold(SOON).await.unwrap().is_some() }
        });
        tokio::task::yield_now().await;
        while guest.read(&mut buffer).await.unwrap() == buffer.len() {}
        assert!(waiting.await.unwrap());
        request.abort();
        more.abort();
    }

    #[tokio::test]
    async fn a_session_that_is_over_cannot_be_held() {
        let (session, guest) = session().await;
        drop(guest);
        session.ended().await;
        assert!(matches!(
            session.hold(SOON).await,
            Err(SessionError::Closed)
        ));
    }
}
