//! The channels between bivouac and QEMU: connected socket pairs, so that nothing has a name.
//! QEMU inherits one end of each under the descriptor number that it has here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::plan::{AGENT_PORT, AgentPort, ChildFd};

#[derive(Debug)]
pub struct Channels {
    pub(super) qmp: Ends,
    pub(super) console: Ends,
    pub(super) agent: Option<Ends>,
    /// Between QEMU and the filter before passt.
    pub(super) network: Option<Ends>,
}

/// Both ends of a channel, before QEMU is started.
#[derive(Debug)]
pub(super) struct Ends {
    /// Non-blocking.
    pub(super) ours: UnixStream,
    /// What QEMU inherits. It is closed here once QEMU runs, so that its end is an end-of-file for us.
    pub(super) theirs: OwnedFd,
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = theirs.into();
        Ok(Self { ours, theirs })
    }

    fn fd(&self) -> ChildFd {
        ChildFd(self.theirs.as_raw_fd())
    }
}

impl Channels {
    /// QMP and the serial port, and the agent's port where it is wanted.
    pub fn new(with_agent: bool) -> io::Result<Self> {
        Ok(Self {
            qmp: Ends::new()?,
            console: Ends::new()?,
            agent: with_agent.then(Ends::new).transpose()?,
            network: None,
        })
    }

    /// A channel for frames, too. QEMU's end of it.
    pub fn add_network(&mut self) -> io::Result<ChildFd> {
        Ok(self.network.insert(Ends::new()?).fd())
    }

    pub fn qmp_fd(&self) -> ChildFd {
        self.qmp.fd()
    }

    pub fn console_fd(&self) -> ChildFd {
        self.console.fd()
    }

    /// QEMU's end of the agent's port, under the name that bivouac's own agent looks for.
    pub fn agent_fd(&self) -> Option<AgentPort> {
        self.agent.as_ref().map(|agent| AgentPort {
            fd: agent.fd(),
            name: AGENT_PORT,
        })
    }
}
