//! What the QEMU that was found can do: starts it without a machine, asks over QMP, and ends it.
//! For `doctor`; a run never pays for this. QEMU gets no disk, no network and no KVM here, dies
//! with this process, and is always reaped.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::Conversation;
pub use super::conversation::ProbeError;

/// The oldest version that is known to do (`x-ignore-shared`, `-add-fd` with block nodes,
/// `-action`); HARD-CASES were tried on 7.2 and 10.0.
pub const OLDEST: (u64, u64) = (6, 2);
/// A device that a run may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Its name in QEMU.
    pub name: &'static str,
    /// The option or the feature that asks for it.
    pub used_for: &'static str,
    /// Whether a run without options already does.
    pub always: bool,
}

/// Every device that a run may ask for.
pub const DEVICES: &[Requirement] = &[
    need("virtio-blk-pci", "--bus virtio", true),
    need("virtio-rng-pci", "entropy", true),
    need("virtio-serial-pci", "the agent's channel", false),
    need("pvpanic", "telling a guest's panic", false),
    need("virtio-scsi-pci", "--bus scsi", false),
    need("scsi-hd", "--bus scsi", false),
    need("scsi-cd", "--cdrom with --bus scsi", false),
    need("nvme", "--bus nvme", false),
    need("ich9-ahci", "--bus sata, --cdrom", false),
    need("ide-hd", "--bus sata, --bus ide", false),
    need("ide-cd", "--cdrom", false),
    need("virtio-net-pci", "--net user", false),
];

const fn need(name: &'static str, used_for: &'static str, always: bool) -> Requirement {
    Requirement {
        name,
        used_for,
        always,
    }
}
/// Everything: QEMU needs 25 ms to its greeting; a host that swaps takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
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

/// Starts the emulator at `path` without a machine, asks it what it is, and ends it. Some 200 ms.
///
/// # Errors
/// It does not start, or does not talk.
pub fn ask(path: &Path) -> Result<Capabilities, ProbeError> {
    ask_within(path, DEADLINE)
}

/// [`ask`] with less patience.
///
/// # Errors
/// As [`ask`].
pub fn ask_within(path: &Path, patience: Duration) -> Result<Capabilities, ProbeError> {
    let mut conversation = Conversation::open(path, patience)?;
    let path = path.to_owned();
    match questions(&mut conversation, &path) {
        Ok(abilities) => Ok(abilities),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ProbeError::Silent {
            path,
            waited: patience,
        }),
        Err(error) => {
            let said = conversation
                .last_words()
                .unwrap_or_else(|| error.to_string());
            Err(ProbeError::Ended { path, said })
        }
    }
}

fn questions(qemu: &mut Conversation, path: &Path) -> io::Result<Capabilities> {
    qemu.receive()?;
    qemu.execute("qmp_capabilities", json!({}))?;
    let version = qemu.execute("query-version", json!({}))?;
    let kvm = qemu.execute("query-kvm", json!({}))?;
    let types = qemu.execute("qom-list-types", json!({ "abstract": false }))?;
    let schema = qemu.execute("query-qmp-schema", json!({}))?;
    qemu.quit();
    let number = |key: &str| version["qemu"][key].as_u64().unwrap_or(0);
    let types: BTreeSet<&str> = array(&types).filter_map(|t| t["name"].as_str()).collect();
    let missing = DEVICES
        .iter()
        .map(|need| need.name)
        .filter(|name| !types.contains(name));
    Ok(Capabilities {
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
