//! UEFI firmware, found by the descriptors that distributions install (docs/interop/firmware.json in
//! QEMU's source). Reads the descriptors, not the firmware.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::install_hint::{self, Package};

/// Firmware in two flash images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uefi {
    pub code: PathBuf,
    /// `raw` or `qcow2`.
    pub code_format: String,
    pub vars_template: PathBuf,
    /// `raw` or `qcow2`.
    pub vars_format: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "no UEFI firmware for the machine {machine} was found ({looked_at} descriptors in {directories})"
)]
pub struct FirmwareError {
    machine: String,
    looked_at: usize,
    directories: String,
}

impl FirmwareError {
    pub fn hint(&self) -> Option<String> {
        let install = install_hint::command_for(Package::Uefi);
        Some(format!(
            "{install}, or name the firmware's file with --firmware PATH"
        ))
    }
}

/// The directories of descriptors: system, administrator, user (`$XDG_CONFIG_HOME`, else `~/.config`).
/// A file in a later one hides those of the same name in earlier ones.
pub fn descriptor_directories() -> Vec<PathBuf> {
    let set = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| !path.as_os_str().is_empty())
    };
    let user = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let fixed = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"].map(PathBuf::from);
    fixed
        .into_iter()
        .chain(user.map(|config| config.join("qemu/firmware")))
        .collect()
}

pub fn find_uefi(machine_type: &str) -> Result<Uefi, FirmwareError> {
    find_uefi_in(machine_type, &descriptor_directories())
}

/// The first descriptor, in the order of file names over all directories, of UEFI in split flash for
/// x86_64 and `machine_type` (`pc-q35-7.2`, or the aliases `q35` and `pc`), without Secure Boot and SMM,
/// whose two files exist.
///
/// A file in a later directory hides one of the same name in an earlier one; an empty file just hides
/// it. Unreadable and malformed files are skipped. Features such as "amd-sev" only mean that the
/// firmware *could* run so (Debian's only plain firmware has it), and are ignored.
pub fn find_uefi_in(machine_type: &str, directories: &[PathBuf]) -> Result<Uefi, FirmwareError> {
    let machine = match machine_type {
        "q35" => "pc-q35-0",
        "pc" | "i440fx" => "pc-i440fx-0",
        other => other,
    };
    let mut by_name = BTreeMap::new();
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "json") {
                by_name.insert(entry.file_name(), entry.path());
            }
        }
    }
    let found = by_name.values().find_map(|path| offer(path, machine));
    found.ok_or_else(|| {
        let names = directories.iter().map(|path| path.display().to_string());
        FirmwareError {
            machine: machine_type.to_owned(),
            looked_at: by_name.len(),
            directories: names.collect::<Vec<_>>().join(", "),
        }
    })
}

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
    /// Since QEMU 7.0; before that always "split".
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

/// Features that exclude a firmware: it needs SMM, or refuses unsigned boot loaders.
const UNWANTED: [&str; 3] = ["requires-smm", "secure-boot", "enrolled-keys"];

fn offer(path: &Path, machine: &str) -> Option<Uefi> {
    let found: Descriptor = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let fits = |target: &Target| {
        let mut machines = target.machines.iter();
        target.architecture == "x86_64" && machines.any(|pattern| matches(pattern, machine))
    };
    let unwanted = |feature: &String| UNWANTED.contains(&feature.as_str());
    let wanted = found.interface_types.iter().any(|kind| kind == "uefi")
        && found.mapping.device == "flash"
        && found.mapping.mode.as_deref().unwrap_or("split") == "split"
        && found.targets.iter().any(fits)
        && !found.features.iter().any(unwanted);
    let (code, vars) = (found.mapping.executable?, found.mapping.nvram_template?);
    (wanted && code.filename.is_file() && vars.filename.is_file()).then_some(Uefi {
        code: code.filename,
        code_format: code.format,
        vars_template: vars.filename,
        vars_format: vars.format,
    })
}

/// Whether `name` matches a pattern in which `*` stands for any text, as in fnmatch(3).
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
        // For the last part only the occurrence at the end counts.
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
