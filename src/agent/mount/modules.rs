//! Loads the kernel modules of the appliance, in groups, when they are needed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::protocol::disks::{MODULES, MODULES_LIST};

pub(crate) struct Modules {
    list: Vec<Module>,
    loaded: HashSet<String>,
}

/// A line of the list, in load order.
#[derive(Debug)]
struct Module {
    group: String,
    file: String,
    /// It is loaded only when it is needed.
    is_rare: bool,
}

impl Module {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            group: words.next()?.to_owned(),
            file: words.next()?.to_owned(),
            is_rare: words.next() == Some("rare"),
        })
    }

    fn line(&self) -> String {
        let rare = if self.is_rare { " rare" } else { "" };
        format!("{} {}{rare}\n", self.group, self.file)
    }
}

impl Modules {
    /// The appliance's modules; none in a guest that booted from an image.
    pub(crate) fn of_the_appliance() -> Self {
        let text = fs::read_to_string(MODULES_LIST).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        Self {
            list: text.lines().filter_map(Module::parse).collect(),
            loaded: HashSet::new(),
        }
    }

    /// The files of `group`, in load order.
    pub(crate) fn files(&self, group: &str) -> Vec<PathBuf> {
        let of_group = self.list.iter().filter(|module| module.group == group);
        let files = of_group.map(|module| Path::new(MODULES).join(&module.file));
        files.collect()
    }

    /// Loads every module but the rare ones, then deletes the files of those that loaded to free
    /// their memory; not the few that may be injected into an image.
    pub(crate) fn load_all(&mut self) {
        let common = self.list.iter().filter(|module| !module.is_rare);
        let groups: Vec<_> = common.map(|module| module.group.clone()).collect();
        for group in groups {
            // A module that does not load is reported when it is needed.
            let _ = self.load(&group);
        }
        for Module { file, .. } in self.list.iter().filter(|module| module.group == "base") {
            self.loaded.remove(file);
        }
        for file in &self.loaded {
            let _ = fs::remove_file(Path::new(MODULES).join(file));
        }
        // The list keeps only those that did not load.
        let left = self
            .list
            .iter()
            .filter(|module| !self.loaded.contains(&module.file));
        let left: String = left.map(Module::line).collect();
        let _ = fs::write(MODULES_LIST, left);
    }

    /// Loads the modules of `group` that are not loaded yet. A group that is built into the kernel
    /// has none. Returns the result for the last module: an earlier one may be refused because it
    /// needs an instruction that the processor lacks.
    pub(crate) fn load(&mut self, group: &str) -> io::Result<()> {
        let mut result = Ok(());
        let modules = self.list.iter().filter(|module| module.group == group);
        for file in modules.map(|module| &module.file) {
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
