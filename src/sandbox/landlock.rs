//! The Landlock ruleset (landlock(7)): which files and TCP ports a process may open.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use super::rules::{NetworkRule, Rules};

/// The newest interface whose rights are all known here. The kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;

/// A ruleset that allows only what `rules` name; `None` if the kernel has no Landlock.
pub(super) fn ruleset(rules: &Rules) -> Result<Option<OwnedFd>, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    ruleset = match rules.network {
        NetworkRule::None | NetworkRule::Serve(_) | NetworkRule::Connect(_) => {
            ruleset.handle_access(AccessNet::from_all(NEWEST))?
        }
        NetworkRule::Internet | NetworkRule::Local => ruleset,
    };
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut created = ruleset.create()?;
    created = allow(created, &rules.read, read)?;
    created = allow(created, &rules.execute, read | AccessFs::Execute)?;
    created = allow(created, &rules.write, write)?;
    created = allow(created, &rules.devices, write | AccessFs::IoctlDev)?;
    let (ports, access) = match &rules.network {
        NetworkRule::Serve(ports) => (&ports[..], AccessNet::BindTcp),
        NetworkRule::Connect(ports) => (&ports[..], AccessNet::ConnectTcp),
        NetworkRule::None | NetworkRule::Internet | NetworkRule::Local => return Ok(created.into()),
    };
    for port in ports {
        created = created.add_rule(NetPort::new(*port, access))?;
    }
    Ok(created.into())
}

fn allow(
    mut created: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        // Landlock does not govern files in memory, and refuses a rule for one.
        let is_in_memory = std::fs::read_link(path).is_ok_and(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"/memfd:")
        });
        let file = match PathFd::new(path) {
            Ok(file) if !is_in_memory => file,
            _ => continue,
        };
        // A file has no rights of directories; the kernel would refuse them.
        let access = match path.is_dir() {
            true => access,
            false => access & AccessFs::from_file(NEWEST),
        };
        created = created.add_rule(PathBeneath::new(file, access))?;
    }
    Ok(created)
}
