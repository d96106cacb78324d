//! What the QEMU that was found can do: starts it without a machine, asks over QMP, and ends it.
//! For `doctor`; a run never pays for this. QEMU gets no disk, no network and no KVM here, dies
//! with this process, and is always reaped.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};

use crate::sys;

/// The oldest version that is known to do (`x-ignore-shared`, `-add-fd` with block nodes,
/// `-action`); HARD-CASES were tried on 7.2 and 10.0.
pub const OLDEST: (u64, u64) = (6, 2);
/// A device that a run may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in QEMU.
    pub name: &'static str,
    /// The option or the feature that asks for it.
    pub used_for: &'static str,
    /// Whether a run without options already does.
    pub always: bool,
}

/// Every device that a run may ask for.
pub const DEVICES: [Need; 9] = [
    Need {
        name: "virtio-blk-pci",
        used_for: "--bus virtio",
        always: true,
    },
    Need {
        name: "virtio-serial-pci",
        used_for: "the agent's channel",
        always: true,
    },
    Need {
        name: "virtio-rng-pci",
        used_for: "entropy",
        always: true,
    },
    Need {
        name: "pvpanic",
        used_for: "telling a guest's panic",
        always: false,
    },
    Need {
        name: "virtio-scsi-pci",
        used_for: "--bus scsi",
        always: false,
    },
    Need {
        name: "scsi-hd",
        used_for: "--bus scsi",
        always: false,
    },
    Need {
        name: "nvme",
        used_for: "--bus nvme",
        always: false,
    },
    Need {
        name: "ich9-ahci",
        used_for: "--bus sata",
        always: false,
    },
    Need {
        name: "virtio-net-pci",
        used_for: "--net user",
        always: false,
    },
];
/// Everything: QEMU needs 25 ms to its greeting; a host that swaps takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// From `quit` to the end of the channel: a few milliseconds.
const FAREWELL: Duration = Duration::from_secs(1);
/// A reply grows with QEMU's types: 200 kB today.
const LONGEST_REPLY: usize = 16 << 20;
/// How a run confines QEMU as well.
pub const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Abilities {
    /// The emulator.
    pub path: PathBuf,
    /// Its version: major, minor, micro.
    pub version: (u64, u64, u64),
    /// The distribution's own version, such as `Debian 1:7.2+dfsg-7+deb12u16`; may be empty.
    pub package: String,
    /// Whether it was built with KVM.
    pub kvm: bool,
    /// Those of [`DEVICES`] that it has not.
    pub missing: Vec<&'static str>,
    /// Whether `-netdev user` is built in.
    pub user_network: bool,
}

/// Why QEMU did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be started.
    #[error("{} cannot be started", path.display())]
    Start {
        /// The emulator.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It ended, or said something else than QMP; its own last lines.
    #[error("{} does not start: {said}", path.display())]
    Ended {
        /// The emulator.
        path: PathBuf,
        /// What it wrote to standard error, or what went wrong with the conversation.
        said: String,
    },
    /// It said nothing for too long.
    #[error("{} did not answer within {} s", path.display(), DEADLINE.as_secs())]
    Silent {
        /// The emulator.
        path: PathBuf,
    },
}

impl ProbeError {
    /// The command or the flag that helps.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Ended { said, .. } if said.contains("sandbox") => Some(
                "this QEMU was built without seccomp: name another with --qemu PATH".to_owned(),
            ),
            Self::Start { path, .. } | Self::Ended { path, .. } | Self::Silent { path } => {
                Some(format!("see what `{} --version` says", path.display()))
            }
        }
    }
}

/// Starts the emulator at `path` without a machine, asks it what it is, and ends it. Some 60 ms.
///
/// # Errors
/// It does not start, or does not talk.
pub fn ask(path: &Path) -> Result<Abilities, ProbeError> {
    let mut conversation = Conversation::open(path)?;
    match conversation.questions(path) {
        Ok(abilities) => Ok(abilities),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ProbeError::Silent {
            path: path.to_owned(),
        }),
        Err(error) => {
            let said = conversation
                .last_words()
                .unwrap_or_else(|| error.to_string());
            Err(ProbeError::Ended {
                path: path.to_owned(),
                said,
            })
        }
    }
}

/// A QEMU and our end of its QMP channel. Dropping it kills and reaps.
struct Conversation {
    qemu: Child,
    channel: UnixStream,
    received: Vec<u8>,
    deadline: Instant,
}

impl Conversation {
    fn open(path: &Path) -> Result<Self, ProbeError> {
        let failed = |source| ProbeError::Start {
            path: path.to_owned(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(path);
        command
            .args([
                "-machine",
                "none",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-S",
            ])
            .args(["-sandbox", SANDBOX])
            // QMP is on standard input, a socket that it also writes to.
            .args([
                "-chardev",
                "socket,id=qmp,fd=0",
                "-mon",
                "chardev=qmp,mode=control",
            ])
            .env("LC_ALL", "C")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        let qemu = command.spawn().map_err(failed)?;
        let deadline = Instant::now() + DEADLINE;
        Ok(Self {
            qemu,
            channel: ours,
            received: Vec::new(),
            deadline,
        })
    }

    fn questions(&mut self, path: &Path) -> io::Result<Abilities> {
        self.receive()?;
        self.execute("qmp_capabilities", json!({}))?;
        let version = self.execute("query-version", json!({}))?;
        let kvm = self.execute("query-kvm", json!({}))?;
        let types = self.execute("qom-list-types", json!({ "abstract": false }))?;
        let schema = self.execute("query-qmp-schema", json!({}))?;
        self.quit();
        let number = |key: &str| version["qemu"][key].as_u64().unwrap_or(0);
        let types: BTreeSet<&str> = array(&types).filter_map(|t| t["name"].as_str()).collect();
        let missing = DEVICES
            .iter()
            .map(|need| need.name)
            .filter(|name| !types.contains(name));
        Ok(Abilities {
            path: path.to_owned(),
            version: (number("major"), number("minor"), number("micro")),
            package: version["package"]
                .as_str()
                .unwrap_or_default()
                .trim_matches(['(', ')'])
                .into(),
            kvm: kvm["present"].as_bool().unwrap_or(false),
            missing: missing.collect(),
            user_network: has_user_network(&schema),
        })
    }

    /// Sends a command and waits for its answer; events that come in between are dropped.
    fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.channel.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut reply = self.receive()?;
            if let Some(error) = reply.get("error") {
                return Err(io::Error::other(format!("{command}: {}", error["desc"])));
            }
            if let Some(answer) = reply.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Lets QEMU end by itself, for a wrapper script would not pass our SIGKILL on to it.
    fn quit(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + FAREWELL);
        if self.execute("quit", json!({})).is_ok() {
            while self.receive().is_ok() {}
        }
    }

    /// The next line.
    fn receive(&mut self) -> io::Result<Value> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(io::Error::other);
            }
            if self.received.len() > LONGEST_REPLY {
                return Err(io::Error::other("a reply of QMP has no end"));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            self.channel.set_read_timeout(Some(left))?;
            match self.channel.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("it ended without a word")),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends QEMU and gives the last lines of what it wrote to standard error. Reads only what
    /// is there: a child of a wrapper script may keep the other end open.
    fn last_words(&mut self) -> Option<String> {
        self.end();
        let mut stderr = self.qemu.stderr.take()?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        let mut text = vec![0; 1 << 16];
        let count = stderr.read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..count]).into_owned();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let last = lines.get(lines.len().saturating_sub(3)..)?;
        (!last.is_empty()).then(|| last.join("; "))
    }

    fn end(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.end();
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether the schema has `user` among the kinds of `netdev_add`: QEMU without libslirp lacks
/// it. Names of enumerations are numbers in the schema, so each with `hubport` is looked at.
fn has_user_network(schema: &Value) -> bool {
    array(schema).any(|entry| {
        let has = |kind: &str| array(&entry["values"]).any(|value| value == kind);
        has("user") && has("hubport")
    })
}
