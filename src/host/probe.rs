//! What the QEMU that was found can do: starts it without a machine, asks over QMP, and ends it.
//! For `doctor`; a run never pays for this. QEMU gets no disk, no network and no KVM here, dies
//! with this process, and is always reaped.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::conversation::Conversation;
pub use super::conversation::ProbeError;

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

/// Starts the emulator at `path` without a machine, asks it what it is, and ends it. Some 60 ms.
///
/// # Errors
/// It does not start, or does not talk.
pub fn ask(path: &Path) -> Result<Abilities, ProbeError> {
    let mut conversation = Conversation::open(path)?;
    match questions(&mut conversation, path) {
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

fn questions(qemu: &mut Conversation, path: &Path) -> io::Result<Abilities> {
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
