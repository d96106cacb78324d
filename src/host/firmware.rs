//! UEFI firmware, by the descriptors that distributions install for it (QEMU's
//! docs/interop/firmware.json). Reads the descriptors; opens no firmware and writes nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::install_hint::{self, Package};

/// Firmware in two flash images: the code, and a template for the variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uefi {
    /// The code; several machines may share it.
    pub code: PathBuf,
    /// `raw` or `qcow2`.
    pub code_format: String,
    /// What a new machine's variables are a copy of.
    pub vars_template: PathBuf,
    /// `raw` or `qcow2`.
    pub vars_format: String,
    /// The descriptor that names them.
    pub descriptor: PathBuf,
}

/// Why there is no firmware.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// No descriptor fits.
    #[error("no UEFI firmware for the machine {machine} was found ({looked_at} descriptors in {})",
        listed(.directories))]
    NotFound {
        /// The machine type.
        machine: String,
        /// How many descriptors there were.
        looked_at: usize,
        /// Where.
        directories: Vec<PathBuf>,
    },
}

impl FirmwareError {
    /// The command or the flag that helps.
    pub fn mend(&self) -> Option<String> {
        let install = install_hint::command_for(Package::Uefi);
        Some(format!(
            "{install}, or name the firmware's file with --firmware PATH"
        ))
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where descriptors are looked for, the distribution's first, so that the later ones hide files
/// of the same name in the earlier: system, administrator, user (`$XDG_CONFIG_HOME`, else
/// `~/.config`).
pub fn descriptor_directories() -> Vec<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v: &OsString| !v.is_empty())
            .map(PathBuf::from)
    };
    let user = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let fixed = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"].map(PathBuf::from);
    fixed
        .into_iter()
        .chain(user.map(|config| config.join("qemu/firmware")))
        .collect()
}

/// [`find_uefi_in`] in this host's [`descriptor_directories`].
pub fn find_uefi(machine_type: &str) -> Result<Uefi, FirmwareError> {
    find_uefi_in(machine_type, &descriptor_directories())
}

/// The first descriptor, in the order of file names over all directories, that offers UEFI in
/// split flash for x86_64 and `machine_type` (`pc-q35-7.2`, or the aliases `q35` and `pc`),
/// without Secure Boot and SMM, and whose two files exist.
///
/// A file in a later directory hides the one of the same name in an earlier; an empty file thus
/// hides it and offers nothing. What is not readable, or no descriptor, is passed over.
/// "amd-sev" and the like only say that the firmware *could* run so (Debian's only plain
/// firmware has it), and do not matter.
pub fn find_uefi_in(machine_type: &str, directories: &[PathBuf]) -> Result<Uefi, FirmwareError> {
    let machine = match machine_type {
        "q35" => "pc-q35-0",
        "pc" | "i440fx" => "pc-i440fx-0",
        other => other,
    };
    let mut by_name = BTreeMap::new();
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if Path::new(&entry.file_name())
                .extension()
                .is_some_and(|e| e == "json")
            {
                by_name.insert(entry.file_name(), entry.path());
            }
        }
    }
    by_name
        .values()
        .find_map(|path| offer(path, machine))
        .ok_or_else(|| FirmwareError::NotFound {
            machine: machine_type.to_owned(),
            looked_at: by_name.len(),
            directories: directories.to_vec(),
        })
}

/// The parts of a descriptor that matter here; the schema's names.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    /// Since QEMU 7.0; before that all were "split".
    mode: Option<String>,
    executable: Option<FlashFile>,
    nvram_template: Option<FlashFile>,
}

#[derive(Deserialize)]
struct FlashFile {
    filename: PathBuf,
    format: String,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// What rules a firmware out: it would need SMM, or refuse to boot what is not signed.
const UNWANTED: [&str; 3] = ["requires-smm", "secure-boot", "enrolled-keys"];

fn offer(path: &Path, machine: &str) -> Option<Uefi> {
    let found: Descriptor = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let fits = |target: &Target| {
        target.architecture == "x86_64"
            && target
                .machines
                .iter()
                .any(|pattern| matches(pattern, machine))
    };
    let wanted = found
        .interface_types
        .iter()
        .any(|interface| interface == "uefi")
        && found.mapping.device == "flash"
        && found.mapping.mode.as_deref().unwrap_or("split") == "split"
        && found.targets.iter().any(fits)
        && !found
            .features
            .iter()
            .any(|feature| UNWANTED.contains(&feature.as_str()));
    let (code, vars) = (found.mapping.executable?, found.mapping.nvram_template?);
    (wanted && code.filename.is_file() && vars.filename.is_file()).then(|| Uefi {
        code: code.filename,
        code_format: code.format,
        vars_template: vars.filename,
        vars_format: vars.format,
        descriptor: path.to_owned(),
    })
}

/// Whether a name fits a pattern in which `*` stands for any text, as `fnmatch` has it.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut ends = rest.is_empty();
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        // Of the last part, only the occurrence at the end counts.
        ends = rest.ends_with(part);
        rest = &rest[at + part.len()..];
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("pc-q35-*", "pc-q35-7.2"));
        assert!(matches("pc-*-7.*", "pc-q35-7.2"));
        assert!(matches("*", "anything"));
        assert!(matches("*35*", "pc-q35-7.2"));
        assert!(!matches("pc-q35-*", "pc-i440fx-7.2"));
        assert!(!matches("pc-*-8.*", "pc-q35-7.2"));
    }

    #[test]
    fn without_a_star_the_name_is_the_pattern() {
        assert!(matches("microvm", "microvm"));
        assert!(!matches("microvm", "microvm2"));
        assert!(!matches("pc*2.3", "pc-2.3-x"));
    }
}
