//! The modules of one kernel, as depmod(8) describes them: which exist, which are built in, and
//! what each depends on. Reads the directory's index files; opens no module.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The index files of a directory `/lib/modules/RELEASE`.
#[derive(Debug, Default)]
pub(super) struct ModuleIndex {
    directory: PathBuf,
    /// Name to its file, relative to the directory, and the files that it needs.
    files: HashMap<String, (String, Vec<String>)>,
    built_in: HashSet<String>,
    /// Name to the names, or aliases, to load before it if they exist.
    soft: HashMap<String, Vec<String>>,
    /// Alias to names, without wildcards.
    aliases: HashMap<String, Vec<String>>,
}

impl ModuleIndex {
    /// Reads `modules.dep`, and `modules.builtin`, `modules.softdep` and `modules.alias` if they
    /// exist. The error has the file that could not be read.
    pub(super) fn read(directory: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let text = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| (path, error))
        };
        let optional = |name: &str| match text(name) {
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        };
        let parsed = Self::parse(
            &text("modules.dep")?,
            &optional("modules.builtin")?,
            &optional("modules.softdep")?,
            &optional("modules.alias")?,
        );
        Ok(Self {
            directory: directory.to_owned(),
            ..parsed
        })
    }

    /// Where the index and the modules are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn parse(dep: &str, builtin: &str, softdep: &str, alias: &str) -> Self {
        let mut index = Self::default();
        for line in dep.lines() {
            if let Some((file, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                index
                    .files
                    .insert(name_of(file), (file.trim().to_owned(), needs));
            }
        }
        index.built_in = builtin.lines().map(name_of).collect();
        // `softdep NAME pre: A B post: C`; a word before `pre:` counts as pre (modprobe.d(5)).
        for line in softdep.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some("softdep") {
                continue;
            }
            let Some(name) = words.next().map(canonical) else {
                continue;
            };
            let before = words.take_while(|word| *word != "post:");
            let before = before.filter(|word| *word != "pre:").map(canonical);
            index.soft.entry(name).or_default().extend(before);
        }
        // Aliases of devices have colons and wildcards. What a softdep can name has neither.
        for line in alias.lines() {
            let Some(line) = line.strip_prefix("alias ") else {
                continue;
            };
            if let Some((alias, name)) = line.split_once(' ')
                && !alias.contains([':', '*', '['])
            {
                let names = index.aliases.entry(canonical(alias)).or_default();
                names.push(canonical(name));
            }
        }
        index
    }

    /// Whether the kernel has this module, built in or as a file.
    pub(super) fn has(&self, name: &str) -> bool {
        let name = canonical(name);
        self.built_in.contains(&name) || self.files.contains_key(&name)
    }

    /// The files to load for these modules, each after its dependencies. Modules that are built
    /// in, or do not exist, add nothing.
    pub(super) fn load_order<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            self.visit(&canonical(name), &mut order, &mut seen);
        }
        order
    }

    fn visit(&self, name: &str, order: &mut Vec<String>, seen: &mut HashSet<String>) {
        // Marked first: soft dependencies may be circular.
        if self.built_in.contains(name) || !seen.insert(name.to_owned()) {
            return;
        }
        for before in self.soft.get(name).into_iter().flatten() {
            self.visit_alias(before, order, seen);
        }
        let Some((file, needs)) = self.files.get(name) else {
            return;
        };
        // depmod writes the nearest dependency first, so the last is loaded first.
        for need in needs.iter().rev() {
            self.visit(&name_of(need), order, seen);
        }
        order.push(file.clone());
    }

    fn visit_alias(&self, alias: &str, order: &mut Vec<String>, seen: &mut HashSet<String>) {
        match self.aliases.get(alias) {
            // As modprobe: a file of that name, else an alias, which counts also if something else
            // of that name is built in.
            Some(names) if !self.files.contains_key(alias) => {
                for name in names {
                    self.visit(name, order, seen);
                }
            }
            _ => self.visit(alias, order, seen),
        }
    }
}

/// The kernel treats `-` and `_` in names as the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name from its file's: `kernel/fs/xfs/xfs.ko.zst` is `xfs`.
pub(super) fn name_of(file: &str) -> String {
    let base = file.trim().rsplit('/').next().unwrap_or_default();
    canonical(base.split(".ko").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> ModuleIndex {
        ModuleIndex::parse(
            "kernel/fs/btrfs/btrfs.ko: kernel/crypto/xor.ko kernel/lib/libcrc32c.ko\n\
             kernel/crypto/xor.ko:\n\
             kernel/lib/libcrc32c.ko.xz:\n\
             kernel/arch/crc32c-intel.ko:\n\
             kernel/crypto/xxhash_generic.ko:\n\
             kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\n",
            "kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n",
            "# a comment\nsoftdep btrfs pre: xxhash64 crypto-crc32c post: xor\n\
             softdep libcrc32c pre: btrfs crypto-crc32c\nsoftdep b nothing\n",
            "alias pci:v00001AF4d* virtio_pci\nalias xxhash64 xxhash_generic\n\
             alias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\n",
        )
    }

    #[test]
    fn what_a_module_needs_comes_before_it_soft_needs_by_alias_too() {
        assert_eq!(
            index().load_order(["btrfs"]),
            [
                "kernel/crypto/xxhash_generic.ko",
                "kernel/arch/crc32c-intel.ko",
                "kernel/lib/libcrc32c.ko.xz",
                "kernel/crypto/xor.ko",
                "kernel/fs/btrfs/btrfs.ko"
            ]
        );
        assert_eq!(
            index().load_order(["c", "a"]),
            ["kernel/c.ko", "kernel/b.ko", "kernel/a.ko"]
        );
    }

    #[test]
    fn an_alias_counts_even_if_something_else_of_its_name_is_built_in() {
        // As in Debian 12: lib/crc32 is built in, and f2fs asks the crypto API for "crc32".
        let index = ModuleIndex::parse(
            "kernel/fs/f2fs/f2fs.ko: kernel/fs/nls/nls_base.ko\nkernel/fs/nls/nls_base.ko:\n\
             kernel/crypto/crc32_generic.ko:\n",
            "kernel/lib/crc32.ko\n",
            "softdep f2fs pre: crc32\n",
            "alias crc32 crc32_generic\n",
        );
        let order = index.load_order(["f2fs"]);
        assert!(
            order.contains(&"kernel/crypto/crc32_generic.ko".to_owned()),
            "{order:?}"
        );
        assert_eq!(order.last().unwrap(), "kernel/fs/f2fs/f2fs.ko");
    }

    #[test]
    fn what_is_built_in_or_missing_adds_nothing() {
        assert!(index().load_order(["ext4", "zfs"]).is_empty());
        assert!(index().has("ext4") && index().has("crc32c-intel") && !index().has("zfs"));
    }

    #[test]
    fn names_are_read_from_files_however_they_are_compressed() {
        for file in [
            "kernel/x/dm-mod.ko",
            "dm-mod.ko.xz",
            "/a/dm_mod.ko.gz",
            "dm-mod.ko.zst",
        ] {
            assert_eq!(name_of(file), "dm_mod");
        }
    }
}
