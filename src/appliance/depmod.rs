//! What depmod(8) does, as far as the appliance needs it: the index of a directory of modules, from the
//! modules' own `.modinfo` sections. For kernels that no package manager has installed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{module_index, modules};
use crate::linux::elf;

/// How deep the directories of modules are nested: `kernel/drivers/md/persistent-data` has four.
const DEEPEST: usize = 16;

/// What one module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Information {
    /// Names of the modules whose symbols it uses.
    needs: Vec<String>,
    /// The values of `softdep`, such as `pre: crc32c`.
    soft: Vec<String>,
    /// Those without wildcards.
    aliases: Vec<String>,
}

/// Writes `modules.dep`, `modules.softdep` and `modules.alias` for the modules below `directory`,
/// and calls `at` for each. `modules.dep` has only what a module itself needs, not what that needs.
pub fn write_index(directory: &Path, mut at: impl FnMut() -> io::Result<()>) -> io::Result<usize> {
    let mut files = Vec::new();
    find(directory, Path::new(""), DEEPEST, &mut files)?;
    files.sort();
    let mut modules = BTreeMap::new();
    for file in files {
        at()?;
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{file}: {error}"));
        let content = fs::read(directory.join(&file)).map_err(failed)?;
        let module = modules::unpack(&file, content).map_err(failed)?;
        let information = information(elf::section(&module, b".modinfo").unwrap_or_default());
        modules.insert(module_index::name_of(&file), (file, information));
    }
    let (mut dep, mut softdep, mut alias) = (String::new(), String::new(), String::new());
    for (name, (file, information)) in &modules {
        let needs = information.needs.iter();
        let needs: String = needs
            .filter_map(|need| modules.get(&need.replace('-', "_")))
            .map(|(file, _)| format!(" {file}"))
            .collect();
        dep.push_str(&format!("{file}:{needs}\n"));
        let lines = |kind: &str, values: &[String], line: fn(&str, &str) -> String| {
            let lines = values.iter().map(|value| line(name, value));
            lines
                .map(|line| format!("{kind} {line}\n"))
                .collect::<String>()
        };
        softdep += &lines("softdep", &information.soft, |name, value| {
            format!("{name} {value}")
        });
        alias += &lines("alias", &information.aliases, |name, value| {
            format!("{value} {name}")
        });
    }
    fs::write(directory.join("modules.softdep"), softdep)?;
    fs::write(directory.join("modules.alias"), alias)?;
    // The last: it is what makes it an index.
    fs::write(directory.join("modules.dep"), dep)?;
    Ok(modules.len())
}

/// Adds the modules below a directory, as paths relative to the top. Skips names that would not fit
/// in an index.
fn find(top: &Path, below: &Path, depth: usize, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            find(top, &path, depth - 1, files)?;
        } else if kind.is_file()
            && let Some(name) = path.to_str()
            && is_module(name)
        {
            files.push(name.to_owned());
        }
    }
    Ok(())
}

/// Whether this is the name of a module's file that can be in an index.
pub fn is_module(name: &str) -> bool {
    let name = ["", ".gz", ".xz", ".zst"]
        .into_iter()
        .find_map(|end| name.strip_suffix(end)?.strip_suffix(".ko"));
    name.is_some_and(|name| !name.contains(|c: char| c.is_whitespace() || c == ':'))
}

/// The strings of a `.modinfo` section: `KEY=VALUE`, each ended by a NUL.
fn information(section: &[u8]) -> Information {
    let mut found = Information::default();
    for string in section.split(|&byte| byte == 0) {
        let Some((key, value)) = std::str::from_utf8(string)
            .ok()
            .and_then(|string| string.split_once('='))
        else {
            continue;
        };
        // An index has a line for each.
        if value.contains('\n') {
            continue;
        }
        match key {
            "depends" => {
                let needs = value.split(',').filter(|need| !need.is_empty());
                found.needs.extend(needs.map(str::to_owned));
            }
            "softdep" => found.soft.push(value.to_owned()),
            "alias" if !value.contains([':', '*', '[', '?', ' ']) => {
                found.aliases.push(value.to_owned());
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs_and_what_it_is_called() {
        let section = b"license=GPL\0alias=fs-btrfs\0alias=pci:v00001AF4d*\0depends=xor,raid6_pq\0\
            softdep=pre: crc32c\0depends=\0bad\0alias=two\nlines\0\xff=\0";
        let found = information(section);
        assert_eq!(found.needs, ["xor", "raid6_pq"]);
        assert_eq!(found.soft, ["pre: crc32c"]);
        assert_eq!(found.aliases, ["fs-btrfs"]);
    }

    #[test]
    fn only_names_of_modules_are_in_an_index() {
        for name in ["a.ko", "kernel/fs/b.ko.xz", "c-d.ko.zst", "e.ko.gz"] {
            assert!(is_module(name), "{name}");
        }
        for name in [
            "a.ko.bz2",
            "vmlinuz",
            "modules.dep",
            "a b.ko",
            "a:b.ko",
            "a.ko\n.ko",
        ] {
            assert!(!is_module(name), "{name}");
        }
    }
}
