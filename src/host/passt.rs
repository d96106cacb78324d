//! Finds passt, the program of `--net internet`. Never starts it.

use std::path::{Path, PathBuf};

use super::install_hint::{self, Package};
use super::programs;

pub const NAME: &str = "passt";

#[derive(Debug, thiserror::Error)]
#[error("--net internet needs passt, which was not found: no {} in PATH", .0.display())]
pub struct PasstError(PathBuf);

impl PasstError {
    pub fn hint(&self) -> Option<String> {
        let install = install_hint::command_for(Package::Passt);
        Some(format!(
            "{install}; --net user needs no program, but reaches this host"
        ))
    }
}

/// The program `name` in PATH.
pub fn find(name: &Path) -> Result<PathBuf, PasstError> {
    programs::find(name).ok_or_else(|| PasstError(name.to_owned()))
}
