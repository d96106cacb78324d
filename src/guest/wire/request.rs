//! What the host asks of the agent.

use serde::{Deserialize, Serialize};

use super::disks::Mount;
use super::seed::Stage;
use super::{ByteString, StreamId, TarOptions};

/// A wish of the host. Each gets one [`super::Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Never twice in a conversation.
    pub id: u64,
    /// What to do.
    pub op: Operation,
}

/// Everything that the agent can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Starts a command: `Started`, and later the notice `Ended`.
    Exec(Box<Exec>),
    /// Sends a signal to a command's process group.
    Signal {
        /// The id of its request.
        exec: u64,
        /// The signal's number.
        signal: i32,
    },
    /// Sets the size of a command's terminal.
    Resize {
        /// The id of its request.
        exec: u64,
        /// The new size.
        size: WindowSize,
    },
    /// stat(2), or lstat(2): `Stat`.
    Stat {
        /// Of what.
        at: PathAt,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// readlink(2): `Link`.
    ReadLink {
        /// Of what.
        at: PathAt,
    },
    /// The entries of a directory, unsorted: `Opened`, and lines of [`super::Entry`].
    List {
        /// The directory.
        at: PathAt,
        /// Where they go.
        out: StreamId,
    },
    /// Everything below a place, and itself, each directory before its entries, links not
    /// followed: `Opened`, and lines of [`super::Entry`].
    Walk {
        /// Where it begins.
        at: PathAt,
        /// Whether it stays on one filesystem.
        one_file_system: bool,
        /// Where they go.
        out: StreamId,
    },
    /// The bytes of a regular file or block device: `Opened`.
    Read {
        /// Which.
        at: PathAt,
        /// The first byte.
        offset: u64,
        /// How many; to its end where there is none.
        length: Option<u64>,
        /// Where they go.
        out: StreamId,
    },
    /// statvfs(3) of the filesystem that a path is on: `FileSystem`.
    StatFs {
        /// A path on it.
        at: PathAt,
    },
    /// A file or tree as a tar stream in pax format: `Opened`.
    TarOut {
        /// What.
        at: PathAt,
        /// What of it.
        options: TarOptions,
        /// Where it goes.
        out: StreamId,
    },
    /// Unpacks a tar stream below a directory: `Opened`, and later the notice `Unpacked`.
    TarIn {
        /// The directory.
        at: PathAt,
        /// What of it.
        options: TarOptions,
        /// Where it comes from.
        input: StreamId,
    },
    /// Looks at every disk of the machine, once this many are there: `Survey`.
    Survey {
        /// How many disks there must be. Those that do not come are among the warnings.
        disks: usize,
    },
    /// Mounts a plan, the root first: `Mounted`.
    Mount {
        /// As [`super::disks::Root`] has them; the first one's target is `/`.
        mounts: Vec<Mount>,
        /// The directory that becomes the root, absolute; it is made where it is missing.
        at: ByteString,
        /// Nothing is to be written there, though a journal is replayed all the same.
        read_only: bool,
        /// Also mount what a command in it expects: /proc, /sys, /dev, /run and a /tmp.
        for_commands: bool,
    },
    /// Takes away what is mounted at a directory, and below it.
    Unmount {
        /// The directory, absolute.
        at: ByteString,
    },
    /// Puts the agent into the root that is mounted at a directory, for the image's own init to
    /// start it: `Seeded`.
    Seed {
        /// The directory, absolute.
        at: ByteString,
        /// When it is to be started.
        stage: Stage,
    },
    /// Does ahead what else is done when it is needed, such as loading modules: the machine is
    /// about to be saved. `Done`.
    Warm,
    /// Sets the clock to this time since 1970, UTC.
    SetClock {
        /// Whole seconds.
        seconds: i64,
        /// And nanoseconds.
        nanoseconds: u32,
    },
    /// Mixes these bytes into the kernel's random numbers, credits them, and reseeds.
    AddEntropy {
        /// 1 to 4096 bytes of the host's.
        bytes: ByteString,
    },
    /// Tells this machine apart from others that were made from the same image or template.
    Identify(CloneIdentity),
    /// sync(2).
    Sync,
    /// Powers the machine off, after sync(2). Answered before it happens.
    PowerOff,
    /// Resets the machine, after sync(2). Answered before it happens.
    Reboot,
}

/// What tells a machine apart. What is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneIdentity {
    /// sethostname(2) and /etc/hostname.
    pub hostname: Option<String>,
    /// /etc/machine-id (machine-id(5)): 32 hexadecimal digits.
    pub machine_id: Option<String>,
    /// The hardware address of the first network device. Where there are several, the others get
    /// those that follow.
    pub hardware_address: Option<[u8; 6]>,
}

/// A path below a root: no link leads out of the root, and an absolute one starts at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAt {
    /// A directory of the guest, absolute.
    pub root: ByteString,
    /// A path within it.
    pub path: ByteString,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program, looked for in PATH where it has no slash, and its arguments.
    pub argv: Vec<ByteString>,
    /// Variables, set over the others.
    pub env: Vec<(ByteString, ByteString)>,
    /// Start from no variables at all, rather than from the agent's; HOME, USER, LOGNAME,
    /// SHELL and PATH are set in either case unless `env` says otherwise.
    pub clear_env: bool,
    /// The working directory, within the root; by default the user's home, else `/`.
    pub workdir: Option<ByteString>,
    /// Who runs it; the agent's own user by default.
    pub user: Option<User>,
    /// The directory that is its `/`, absolute.
    pub root: Option<ByteString>,
    /// Give it a terminal of this size; `stdout` then carries all output.
    pub pty: Option<WindowSize>,
    /// From the host; /dev/null where there is none.
    pub stdin: Option<StreamId>,
    /// To the host; /dev/null where there is none.
    pub stdout: Option<StreamId>,
    /// To the host; /dev/null where there is none. None with a terminal.
    pub stderr: Option<StreamId>,
}

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// A name of the root's /etc/passwd, with its groups of /etc/group.
    Name(ByteString),
    /// Numbers. Where there is no group, that of /etc/passwd, else the user's number.
    Id {
        /// The user.
        uid: u32,
        /// The group.
        gid: Option<u32>,
    },
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}
