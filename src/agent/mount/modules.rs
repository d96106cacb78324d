//! Loads the kernel modules of the appliance, in groups, when they are needed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::protocol::disks::{MODULES, MODULES_LIST};

pub(crate) struct Modules {
    /// Group and file name, in load order.
    list: Vec<(String, String)>,
    loaded: HashSet<String>,
}

impl Modules {
    /// The appliance's modules; none in a guest that booted from an image.
    pub(crate) fn of_the_appliance() -> Self {
        let text = fs::read_to_string(MODULES_LIST).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let list = lines.map(|(group, file)| (group.to_owned(), file.to_owned()));
        Self {
            list: list.collect(),
            loaded: HashSet::new(),
        }
    }

    /// The files of `group`, in load order.
    pub(crate) fn files(&self, group: &str) -> Vec<PathBuf> {
        let of_group = self.list.iter().filter(|(name, _)| name == group);
        let files = of_group.map(|(_, file)| Path::new(MODULES).join(file));
        files.collect()
    }

    /// Loads every module, then deletes the files of those that loaded to free their memory; not the
    /// few that may be injected into an image.
    pub(crate) fn load_all(&mut self) {
        let groups: Vec<_> = self.list.iter().map(|(group, _)| group.clone()).collect();
        for group in groups {
            // A module that does not load is reported when it is needed.
            let _ = self.load(&group);
        }
        for (_, file) in self.list.iter().filter(|(group, _)| group == "base") {
            self.loaded.remove(file);
        }
        for file in &self.loaded {
            let _ = fs::remove_file(Path::new(MODULES).join(file));
        }
        // The list keeps only those that did not load.
        let left = self
            .list
            .iter()
            .filter(|(_, file)| !self.loaded.contains(file));
        let left: String = left
            .map(|(group, file)| format!("{group} {file}\n"))
            .collect();
        let _ = fs::write(MODULES_LIST, left);
    }

    /// Loads the modules of `group` that are not loaded yet. A group that is built into the kernel
    /// has none. Returns the result for the last module: an earlier one may be refused because it
    /// needs an instruction that the processor lacks.
    pub(crate) fn load(&mut self, group: &str) -> io::Result<()> {
        let mut result = Ok(());
        for (_, file) in self.list.iter().filter(|(name, _)| name == group) {
            if !self.loaded.contains(file) {
                result = insert(&Path::new(MODULES).join(file));
                if result.is_ok() {
                    self.loaded.insert(file.clone());
                }
            }
        }
        result
    }
}

fn insert(path: &Path) -> io::Result<()> {
    // Another process of the agent may have loaded it. finit_module(2) would report that only after
    // reading the entire file.
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if Path::new("/sys/module")
        .join(name.replace('-', "_"))
        .exists()
    {
        return Ok(());
    }
    let file = File::open(path)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
