//! The kernel's modules, loaded when something that needs them is met.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::guest::wire::disks::{MODULES, MODULES_LIST};

/// The modules that came in the initramfs, and which of them are loaded.
#[derive(Debug, Default)]
pub struct Modules {
    directory: PathBuf,
    /// Group and file, in load order.
    list: Vec<(String, String)>,
    done: HashSet<String>,
}

impl Modules {
    /// Those of the appliance; none where there is no list, as in a guest that booted itself.
    pub fn of_the_appliance() -> Self {
        let text = fs::read_to_string(MODULES_LIST).unwrap_or_default();
        Self::parse(Path::new(MODULES), &text)
    }

    fn parse(directory: &Path, text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Self {
            directory: directory.to_owned(),
            list: lines
                .map(|(group, file)| (group.to_owned(), file.to_owned()))
                .collect(),
            done: HashSet::new(),
        }
    }

    /// Loads every module, and removes the files of those that are loaded.
    pub fn load_all(&mut self) {
        let groups: Vec<_> = self.list.iter().map(|(group, _)| group.clone()).collect();
        for group in groups {
            // What this processor or this kernel refuses is told when it is needed.
            let _ = self.load(&group);
        }
        for file in &self.done {
            let _ = fs::remove_file(self.directory.join(file));
        }
    }

    /// Loads the modules of `group`, those that are not yet loaded. A group that is built in
    /// has none.
    ///
    /// # Errors
    /// What loading the last of the group said; one before it may be refused, as a driver of an
    /// instruction is that this processor lacks.
    pub fn load(&mut self, group: &str) -> io::Result<()> {
        let mut result = Ok(());
        for (_, file) in self.list.iter().filter(|(name, _)| name == group) {
            if !self.done.contains(file) {
                result = insert(&self.directory.join(file));
                if result.is_ok() {
                    self.done.insert(file.clone());
                }
            }
        }
        result
    }
}

fn insert(path: &Path) -> io::Result<()> {
    // Another process of the agent's may have loaded it, and the kernel would read it whole
    // before it says so.
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
