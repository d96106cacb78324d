//! What the QEMU that was found can do: starts it without a machine, asks over QMP, and ends it.
//! Used by `doctor` only. QEMU gets no disk, no network and no KVM here, dies with this process, and
//! is always reaped.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::qemu::SANDBOX;
use crate::linux::program::Program;
use crate::qmp::client::Qmp;
use crate::qmp::codec::QmpError;
use crate::qmp::probe::QmpProbe;
use crate::sandbox::{Mode, Rules, SandboxError, Settings, confine, support};

/// The oldest QEMU that has all that is used: `x-ignore-shared`, `-add-fd` with block nodes,
/// `-action`.
pub const OLDEST: (u64, u64) = (6, 2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirement {
    pub name: &'static str,
    /// The option or feature that needs it.
    pub used_for: &'static str,
    pub always: bool,
}

pub(crate) const DEVICES: &[Requirement] = &[
    device("virtio-blk-pci", "--bus virtio", true),
    device("virtio-rng-pci", "entropy", true),
    device("virtio-serial-pci", "the agent's channel", false),
    device("pvpanic", "reporting a guest's panic", false),
    device("virtio-scsi-pci", "--bus scsi", false),
    device("scsi-hd", "--bus scsi", false),
    device("scsi-cd", "--cdrom with --bus scsi", false),
    device("nvme", "--bus nvme", false),
    device("ich9-ahci", "--bus sata, --cdrom", false),
    device("ide-hd", "--bus sata, --bus ide", false),
    device("ide-cd", "--cdrom", false),
    device("virtio-net-pci", "--net user", false),
];

const fn device(name: &'static str, used_for: &'static str, always: bool) -> Requirement {
    Requirement {
        name,
        used_for,
        always,
    }
}

/// For all commands. QEMU needs 25 ms until its greeting; a host that swaps takes seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    pub path: PathBuf,
    /// Major, minor, micro.
    pub version: (u64, u64, u64),
    /// The distribution's package version, such as `Debian 1:7.2+dfsg-7+deb12u16`; may be empty.
    pub package: String,
    pub kvm: bool,
    /// The devices that it lacks of those that a run may use.
    pub missing: Vec<&'static str>,
    /// Whether it was built with user networking (libslirp).
    pub user_network: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("{} cannot be started", path.display())]
    Start {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It ended, or what it said is not QMP.
    #[error("{} does not start: {reason}", path.display())]
    Ended {
        path: PathBuf,
        /// Its last lines on standard error, else what is wrong with the connection.
        reason: String,
    },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{} did not answer within {} s", path.display(), waited.as_secs_f32())]
    Silent { path: PathBuf, waited: Duration },
}

impl ProbeError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ended { reason, .. } if reason.contains("sandbox") => Some(
                "this QEMU was built without seccomp: name another with --qemu PATH".to_owned(),
            ),
            Self::Sandbox(error) => error.hint().map(str::to_owned),
            Self::Start { path, .. } | Self::Ended { path, .. } | Self::Silent { path, .. } => {
                Some(format!("see what `{} --version` says", path.display()))
            }
        }
    }
}

/// Starts the emulator at `path` without a machine, asks what it can do, and ends it. Takes about
/// 200 ms.
pub fn ask(path: &Path, sandbox: &Settings) -> Result<Capabilities, ProbeError> {
    ask_within(path, TIMEOUT, sandbox)
}

pub fn ask_within(
    path: &Path,
    limit: Duration,
    sandbox: &Settings,
) -> Result<Capabilities, ProbeError> {
    let no_machine = "-machine none -nodefaults -no-user-config -display none -S -sandbox";
    let args: Vec<_> = no_machine.split(' ').chain([SANDBOX]).collect();
    let path = path.to_owned();
    let rules = Rules::of_program(&Program::of(&path), &sandbox.read);
    let (confinement, _) = confine(sandbox.mode, &rules, &support())?;
    let confinement = (sandbox.mode != Mode::Off).then_some(confinement);
    let mut qemu = match QmpProbe::start(&path, &args, confinement) {
        Ok(qemu) => qemu,
        Err(source) => return Err(ProbeError::Start { path, source }),
    };
    match qemu.session(limit, async |qmp| capabilities(qmp, &path).await) {
        Ok(found) => Ok(found),
        Err(QmpError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(ProbeError::Silent {
                path,
                waited: limit,
            })
        }
        Err(error) => {
            let reason = qemu.error_output().unwrap_or_else(|| error.to_string());
            Err(ProbeError::Ended { path, reason })
        }
    }
}

/// `query-qmp-schema` with an untyped reply: a newer QEMU may have kinds of entries that qapi's type
/// does not know.
#[derive(Debug, Serialize)]
struct QuerySchema {}

impl qapi::Command for QuerySchema {
    const NAME: &'static str = "query-qmp-schema";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<Value>;
}

async fn capabilities(qmp: &Qmp, path: &Path) -> Result<Capabilities, QmpError> {
    let kvm = qmp.execute(qapi::qmp::query_kvm {}).await?;
    let concrete_types = qapi::qmp::qom_list_types {
        abstract_: Some(false),
        implements: None,
    };
    let types = qmp.execute(concrete_types).await?;
    let schema = qmp.execute(QuerySchema {}).await?;
    let types: BTreeSet<&str> = types.iter().map(|object| object.name.as_str()).collect();
    let names = DEVICES.iter().map(|device| device.name);
    let package = qmp.version.package.trim().trim_matches(['(', ')']);
    Ok(Capabilities {
        path: path.to_owned(),
        version: qmp.version.numbers,
        package: package.to_owned(),
        kvm: kvm.present,
        missing: names.filter(|name| !types.contains(name)).collect(),
        user_network: has_user_network(&schema),
    })
}

/// Whether `user` is a kind of `netdev_add`. The schema numbers its enumerations instead of naming
/// them, so any one that has `hubport` is taken.
fn has_user_network(schema: &[Value]) -> bool {
    let values = schema.iter().filter_map(|entry| entry["values"].as_array());
    let has = |values: &[Value], kind: &str| values.iter().any(|value| value == kind);
    values
        .into_iter()
        .any(|values| has(values, "user") && has(values, "hubport"))
}
