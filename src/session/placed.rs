//! Data that the guest leaves in its memory, where the host reads it, instead of sending it.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::Session;
use super::messages::{ActorCommand, ReadMemory};
use crate::protocol::Operation;

type Open = dyn Fn() -> io::Result<Box<ReadMemory>> + Send + Sync;

/// How the guest's memory is opened, if it can be.
#[derive(Clone, Default)]
pub(super) struct GuestMemory(Option<Arc<Open>>);

impl fmt::Debug for GuestMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("GuestMemory")
            .field(&self.0.is_some())
            .finish()
    }
}

impl Session {
    /// The same session with a guest whose memory can be read, after [`Session::place_data`].
    #[must_use]
    pub fn with_memory(
        mut self,
        open: impl Fn() -> io::Result<Box<ReadMemory>> + Send + Sync + 'static,
    ) -> Self {
        self.memory = GuestMemory(Some(Arc::new(open)));
        self
    }

    /// Asks the agent to place data in its memory from now on, which is faster for many bytes. Without
    /// effect where this host cannot read it, or the guest's kernel lacks what that takes.
    pub async fn place_data(&self) {
        let Some(open) = &self.memory.0 else { return };
        let asked = match open() {
            Ok(memory) => {
                // Before the request. If the session is over, that fails as well.
                let _ = self.actor.send(ActorCommand::Memory(memory));
                let asked = self.request::<()>(Operation::PlaceData).await;
                asked.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = asked {
            tracing::debug!("data comes by the channel only: {error}");
        }
    }
}
