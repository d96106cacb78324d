//! The agent and the host's session, each against the other and against a hostile one. The
//! agent runs as an ordinary process over a pair of sockets: no machine is needed for what it
//! does to processes and files.

mod agent;
mod archive;
mod commands;
mod destination;
mod fake;
mod files;
mod hostile;
mod joined;
mod memory;
mod terminal;
mod transfer;
mod unpack;

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bivouac::protocol::PathAt;
use bivouac::session::{self, ExecEnd, Session};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Long enough for a machine under load; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

/// An agent that runs on this host, killed in the end.
pub struct Agent(Child);

impl Agent {
    /// Starts one, and gives our end of its channel.
    fn start() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = theirs.into_std().unwrap();
        theirs.set_nonblocking(false).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bivouac"))
            .arg0("bivouac-agent")
            .args(["--fd", "0"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("the agent starts");
        (Self(child), ours)
    }

    /// One that a session talks with.
    pub async fn with_session() -> (Self, Session) {
        let (agent, stream) = Self::start();
        let session = Session::connect(stream, DEADLINE).await.unwrap();
        (agent, session)
    }

    /// The most memory that it ever had, in KiB.
    fn peak(&self) -> u64 {
        peak(&self.0.id().to_string())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// VmHWM of a process without its program's pages (RssFile), in KiB: how many of these the kernel maps at
/// once depends on the size of the program and on what is in its cache.
fn peak(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.unwrap().split_whitespace().nth(1);
        number.unwrap().parse().unwrap()
    };
    field("VmHWM:").saturating_sub(field("RssFile:"))
}

/// How a command ended and what it wrote.
#[derive(Debug, PartialEq)]
struct Finished {
    end: ExecEnd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a command without input to its end.
async fn finish(session: &Session, command: session::Command) -> Finished {
    let mut exec = session.exec(command).await.unwrap();
    exec.stdin = None;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (exec.stdout.take(), exec.stderr.take());
    let read_out = async {
        if let Some(out) = &mut out {
            out.read_to_end(&mut stdout).await.unwrap();
        }
    };
    let read_err = async {
        if let Some(err) = &mut err {
            err.read_to_end(&mut stderr).await.unwrap();
        }
    };
    tokio::join!(read_out, read_err);
    Finished {
        end: exec.wait().await.unwrap(),
        stdout,
        stderr,
    }
}

/// A shell command.
fn sh(script: &str) -> session::Command {
    session::Command::new(["sh", "-c", script])
}

/// A path within a root.
fn at(root: &Path, path: impl AsRef<Path>) -> PathAt {
    PathAt {
        root: root.into(),
        path: path.as_ref().into(),
    }
}
