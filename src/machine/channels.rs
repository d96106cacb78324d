//! The channels between bivouac and QEMU: connected socket pairs, so that nothing has a name.
//! QEMU inherits one end of each under the descriptor number that it has here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::plan::{AGENT_PORT, AgentPort, ChildFd};

/// Both ends of every channel, before QEMU is started.
#[derive(Debug)]
pub struct Channels {
    pub(super) parent_ends: ParentEnds,
    pub(super) child_ends: ChildEnds,
}

/// The ends that this process keeps, non-blocking.
#[derive(Debug)]
pub(super) struct ParentEnds {
    pub(super) qmp: UnixStream,
    pub(super) console: UnixStream,
    pub(super) agent: Option<UnixStream>,
}

/// The ends that QEMU inherits. They are closed here once it runs, so that its end is an
/// end-of-file for us.
#[derive(Debug)]
pub(super) struct ChildEnds {
    qmp: OwnedFd,
    console: OwnedFd,
    agent: Option<OwnedFd>,
}

impl ChildEnds {
    pub(super) fn into_fds(self) -> Vec<OwnedFd> {
        let both = [self.qmp, self.console];
        both.into_iter().chain(self.agent).collect()
    }
}

impl Channels {
    /// QMP and the serial port, and the agent's port where it is wanted.
    pub fn new(with_agent: bool) -> io::Result<Self> {
        let (qmp, their_qmp) = pair()?;
        let (console, their_console) = pair()?;
        let (agent, their_agent) = match with_agent {
            true => pair().map(|(ours, theirs)| (Some(ours), Some(theirs)))?,
            false => (None, None),
        };
        Ok(Self {
            parent_ends: ParentEnds {
                qmp,
                console,
                agent,
            },
            child_ends: ChildEnds {
                qmp: their_qmp,
                console: their_console,
                agent: their_agent,
            },
        })
    }

    /// The number of QEMU's end of QMP.
    pub fn qmp_fd(&self) -> ChildFd {
        ChildFd(self.child_ends.qmp.as_raw_fd())
    }

    /// The number of QEMU's end of the serial port.
    pub fn console_fd(&self) -> ChildFd {
        ChildFd(self.child_ends.console.as_raw_fd())
    }

    /// QEMU's end of the agent's port, under the name that bivouac's own agent looks for.
    pub fn agent_fd(&self) -> Option<AgentPort> {
        self.child_ends.agent.as_ref().map(|fd| AgentPort {
            fd: ChildFd(fd.as_raw_fd()),
            name: AGENT_PORT,
        })
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}
