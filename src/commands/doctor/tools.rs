//! Programs for volumes: what each would add to what bivouac opens itself, and whether it is installed.

use std::path::Path;

use super::{Check, CheckStatus};
use crate::host::install_hint::{Package, command_for};
use crate::host::tools::{self, Tool};
use crate::text::one_line;

/// What nothing is added to, and what is missing all the same.
const UNUSED: [(&str, &str); 3] = [
    (
        "lvm",
        "thin, cached, mirrored and RAID volumes and snapshots are mapped without it, though metadata of \
         thin pools and caches are not checked",
    ),
    (
        "mdadm",
        "arrays of each version of the metadata are assembled without it; RAID of a firmware is named, but \
         not opened",
    ),
    ("zpool", "pools of ZFS are named, but not opened"),
];

pub(super) fn checks() -> Vec<Check> {
    let unused = UNUSED.map(|(name, why)| {
        let installed = match tools::find(name) {
            Some(path) => path.display().to_string(),
            None => "not installed".to_owned(),
        };
        check(
            CheckStatus::Ok,
            format!("{name} ({installed}) would add nothing: {why}"),
        )
    });
    let first = cryptsetup(tools::find("cryptsetup").as_deref());
    std::iter::once(first).chain(unused).collect()
}

/// The only one that the appliance borrows.
fn cryptsetup(path: Option<&Path>) -> Check {
    let what = "volumes of BitLocker, and of LUKS what bivouac does not open itself, such as one whose \
                reencryption has not ended";
    let Some(path) = path else {
        return Check {
            hint: Some(command_for(Package::Cryptsetup)),
            ..check(
                CheckStatus::Warn,
                format!("cryptsetup is not installed; it would open {what}"),
            )
        };
    };
    match Tool::of(path) {
        Ok(_) => check(
            CheckStatus::Ok,
            format!(
                "cryptsetup ({}) opens, in the appliance, {what}",
                path.display()
            ),
        ),
        Err(error) => check(
            CheckStatus::Warn,
            format!(
                "{} cannot open {what}: {}",
                path.display(),
                one_line(&error)
            ),
        ),
    }
}

fn check(status: CheckStatus, text: String) -> Check {
    Check {
        about: "tools",
        status,
        text,
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_what_it_would_add() {
        let missing = cryptsetup(None);
        assert_eq!(missing.status, CheckStatus::Warn);
        assert!(missing.text.contains("it would open volumes of BitLocker"));
        assert!(missing.hint.is_some_and(|hint| hint.contains("cryptsetup")));
        // A script has no loader that could list libraries.
        let script = cryptsetup(Some(Path::new("/dev/null")));
        assert_eq!(script.status, CheckStatus::Warn, "{}", script.text);
    }
}
