//! Finds QEMU's emulator. Never starts it; [`super::probe`] does.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::install_hint::{self, Package};
use super::programs::{self, is_program};

pub const NAME: &str = "qemu-system-x86_64";
/// Its path on Red Hat's family, outside PATH.
pub const HIDDEN: &str = "/usr/libexec/qemu-kvm";

/// The value of `-sandbox` for every QEMU.
pub(crate) const SANDBOX: &str =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("QEMU was not found: no {NAME} in PATH, no {HIDDEN}")]
    NotFound,
    #[error("QEMU was not found: no {} in PATH", .0.display())]
    NotInPath(PathBuf),
    #[error("QEMU was not found: {} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is not executable", .0.display())]
    NotExecutable(PathBuf),
}

impl QemuError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound => {
                format!(
                    "{}, or name it with --qemu PATH",
                    install_hint::command_for(Package::Qemu)
                )
            }
            Self::NotInPath(_) | Self::Missing(_) | Self::NotExecutable(_) => {
                "set --qemu or BIVOUAC_QEMU to the QEMU executable, or leave them out to \
                 search for it"
                    .into()
            }
        })
    }
}

/// What was named (`--qemu` or BIVOUAC_QEMU: a path, or a name in PATH), else [`NAME`] in PATH, else
/// [`HIDDEN`].
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, QemuError> {
    find_in(
        explicit,
        &env::var_os("PATH").unwrap_or_default(),
        Path::new(HIDDEN),
    )
}

pub fn find_in(
    explicit: Option<&Path>,
    search_path: &OsStr,
    hidden: &Path,
) -> Result<PathBuf, QemuError> {
    let in_path = |name: &Path| programs::find_in(name, search_path);
    match explicit {
        Some(path) if path.as_os_str().as_encoded_bytes().contains(&b'/') => {
            if is_program(path) {
                Ok(path.to_owned())
            } else if path.exists() {
                Err(QemuError::NotExecutable(path.to_owned()))
            } else {
                Err(QemuError::Missing(path.to_owned()))
            }
        }
        Some(name) => in_path(name).ok_or_else(|| QemuError::NotInPath(name.to_owned())),
        None => in_path(Path::new(NAME))
            .or_else(|| is_program(hidden).then(|| hidden.to_owned()))
            .ok_or(QemuError::NotFound),
    }
}
