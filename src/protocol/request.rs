//! What the host asks of the agent.

use serde::{Deserialize, Serialize};

use super::crypt::Unlock;
use super::disks::Mount;
use super::inject::Stage;
use super::{
    ByteString, Command, DigestKey, DigestKind, StreamId, TarOptions, TreeDetail, WindowSize,
};

/// One request of the host. The agent sends exactly one [`super::Reply`] to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Unique within a conversation.
    pub id: u64,
    pub op: Operation,
}

/// Everything that the agent can do. Each doc ends with the [`super::Response`] to it; without
/// one it is `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Start a command: `Started`, and later the notice `Ended`.
    Exec {
        command: Box<Command>,
        /// Its stdin, stdout and stderr, /dev/null if absent. With a terminal there is a stdout
        /// and no stderr.
        streams: [Option<StreamId>; 3],
    },
    /// Send a signal to a command's process group.
    Signal {
        /// The id of the request that started it.
        exec: u64,
        signal: i32,
    },
    /// Set the size of a command's terminal.
    Resize {
        /// The id of the request that started it.
        exec: u64,
        size: WindowSize,
    },
    /// stat(2), or lstat(2) without `follow`: `Stat`.
    Stat { at: PathAt, follow: bool },
    /// readlink(2): `Link`.
    ReadLink { at: PathAt },
    /// The extended attributes of a file, links not followed: `Attributes`.
    Attributes { at: PathAt },
    /// The entries of a directory, unsorted: `Opened`, then records of [`super::Entry`] on `out`.
    List { at: PathAt, out: StreamId },
    /// A file and everything below it, each directory before its entries, links not followed:
    /// `Opened`, then records of [`super::Entry`] on `out`.
    Walk {
        at: PathAt,
        one_file_system: bool,
        out: StreamId,
    },
    /// [`Operation::Walk`] over all filesystems, the entries of each directory in the order of the bytes
    /// of their names.
    WalkSorted { at: PathAt, out: StreamId },
    /// The entries of directories, and of those below them: `Opened`, then records of [`super::TreeRecord`] on
    /// `out`.
    ListTree {
        /// A directory of the guest, absolute.
        root: ByteString,
        /// Paths within it, links not followed.
        directories: Vec<ByteString>,
        /// How many entries are enough; no further directory is then begun.
        limit: usize,
        detail: TreeDetail,
        out: StreamId,
    },
    /// The contents of regular files: `Opened`, then on `out` for each path its length in eight bytes,
    /// little-endian, and its bytes; or [`super::UNREAD`].
    Contents {
        /// A directory of the guest, absolute.
        root: ByteString,
        /// Paths within it, links not followed.
        paths: Vec<ByteString>,
        out: StreamId,
    },
    /// What stat(2) does not tell of files: `Opened`, then for each path a record of [`super::Details`]
    /// on `out`.
    Details {
        /// A directory of the guest, absolute.
        root: ByteString,
        /// Paths within it, links not followed, and what is wanted of each.
        files: Vec<(ByteString, DigestKind)>,
        key: DigestKey,
        out: StreamId,
    },
    /// The bytes of a regular file or block device: `Opened` with its `stat`.
    Read {
        at: PathAt,
        offset: u64,
        /// Default: to the end.
        length: Option<u64>,
        out: StreamId,
    },
    /// statvfs(3) of the filesystem that a path is on: `FileSystem`.
    StatFs { at: PathAt },
    /// Pack a file or tree as a tar stream in pax format: `Opened`.
    TarOut {
        at: PathAt,
        options: TarOptions,
        out: StreamId,
    },
    /// Unpack a tar stream below a directory: `Opened`, and later the notice `Unpacked`.
    TarIn {
        at: PathAt,
        options: TarOptions,
        input: StreamId,
    },
    /// Inspect every disk of the machine: `Survey`.
    Survey {
        /// How many disks to wait for. Those that do not appear are among the warnings.
        disks: usize,
    },
    /// [`Operation::Survey`] by the agent of an appliance that is saved after it: `Survey`. Asked again, it
    /// has the same answer, and so has a `Mount` of what is mounted.
    KeptSurvey { disks: usize },
    /// [`Operation::Survey`], by the agent of an appliance: `Locked` as often as it finds encrypted volumes
    /// that it has not asked for, then `Survey`.
    SurveyUnlocking { disks: usize },
    /// Answers `Locked`, for each of its volumes: `Locked` or `Survey`.
    Unlock { answers: Vec<Unlock> },
    /// Mount filesystems, the root first: `Mounted`.
    Mount {
        /// As [`super::disks::Root`] has them; the first one's target is `/`.
        mounts: Vec<Mount>,
        /// The directory that becomes the root, absolute. Created if missing.
        at: ByteString,
        /// Mount read-only. Journals are replayed all the same.
        read_only: bool,
        /// Also mount what commands expect: /proc, /sys, /dev, /run and a /tmp.
        for_commands: bool,
    },
    /// Unmount everything at and below a directory.
    Unmount {
        /// Absolute.
        at: ByteString,
    },
    /// Put the agent into the root that is mounted at a directory, for the image's own init to
    /// start it: `Injected`.
    Inject {
        /// Absolute.
        at: ByteString,
        stage: Stage,
        /// With the driver of its port, for the kernel that runs.
        driver: bool,
    },
    /// Do ahead of time what is otherwise done on demand, such as loading modules: the machine is
    /// about to be saved.
    Warm,
    /// Send data by placed frames from now on where that is faster. The host can read the guest's memory.
    PlaceData,
    /// Set the clock to this time since 1970, UTC.
    SetClock { seconds: i64, nanoseconds: u32 },
    /// Mix these bytes into the kernel's random pool, credit them, and reseed.
    AddEntropy {
        /// 1 to 4096 bytes.
        bytes: ByteString,
    },
    /// Make this machine distinct from others made from the same image or template.
    Identify(CloneIdentity),
    /// sync(2).
    Sync,
    /// Power the machine off after sync(2). The response comes first.
    PowerOff,
    /// Reset the machine after sync(2). The response comes first.
    Reboot,
}

/// What makes a machine distinct. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneIdentity {
    /// For sethostname(2) and /etc/hostname.
    pub hostname: Option<String>,
    /// For /etc/machine-id (machine-id(5)): 32 hexadecimal digits.
    pub machine_id: Option<String>,
    /// The hardware address of the first network device. Further devices get the addresses
    /// that follow.
    pub hardware_address: Option<[u8; 6]>,
}

/// A path below a root: no link leads out of the root, and absolute links start at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAt {
    /// A directory of the guest, absolute.
    pub root: ByteString,
    /// A path within it.
    pub path: ByteString,
}

impl PathAt {
    /// The file at `path` below `root`.
    pub fn new(root: &str, path: &[u8]) -> Self {
        Self {
            root: root.into(),
            path: ByteString(path.to_vec()),
        }
    }
}
