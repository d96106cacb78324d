//! The mounts that a system makes: those of its fstab, and systemd's units for mounts.

use std::collections::BTreeSet;

use super::system_tree::SystemTree;
use crate::block::fstab::{self, FstabEntry};
use crate::block::mount_unit;

/// The administrator's units, which come before those that systemd makes of fstab.
const ETC: &str = "/etc/systemd/system";
/// The distribution's units, which come after.
const USR: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

/// What pulls in mounts when a system starts.
const TARGETS: [&str; 3] = ["local-fs.target", "remote-fs.target", "multi-user.target"];

/// Limit on the units that are read.
const MAX_UNITS: usize = 64;

/// The mounts that a system makes, as lines of fstab.
pub(crate) fn entries(tree: &SystemTree) -> Vec<FstabEntry> {
    let fstab = fstab::parse(&tree.text("/etc/fstab").unwrap_or_default());
    let own = tree.names(ETC);
    let usr = USR
        .into_iter()
        .find(|directory| tree.has_directory(directory));
    let mut all = fstab;
    for name in enabled(tree, &own, usr).into_iter().take(MAX_UNITS) {
        let is_own = own.contains(&name);
        let Some(entry) = unit(tree, &name, is_own, &own, usr) else {
            continue;
        };
        let same = |other: &FstabEntry| other.target == entry.target;
        match all.iter().position(same) {
            Some(place) if is_own => all[place] = entry,
            Some(_) => {}
            None => all.push(entry),
        }
    }
    all
}

/// The names of the mount units that are started at boot, or when a path is used. `own` are the
/// names in [`ETC`], `usr` is the directory of the others.
fn enabled(tree: &SystemTree, own: &[String], usr: Option<&str>) -> BTreeSet<String> {
    let mut directories = Vec::new();
    for target in TARGETS {
        for sort in ["wants", "requires"] {
            let name = format!("{target}.{sort}");
            if own.contains(&name) {
                directories.push(format!("{ETC}/{name}"));
            }
        }
    }
    // What a distribution itself enables elsewhere is on no disk.
    let wanted = ["wants", "requires"].map(|sort| format!("local-fs.target.{sort}"));
    directories.extend(
        usr.iter()
            .flat_map(|usr| wanted.each_ref().map(|name| format!("{usr}/{name}"))),
    );
    let names = directories
        .iter()
        .flat_map(|directory| tree.names(directory));
    names
        .filter_map(|name| match name.strip_suffix(".automount") {
            Some(stem) => Some(format!("{stem}.mount")),
            None => name.ends_with(".mount").then_some(name),
        })
        .collect()
}

/// A unit with its drop-ins. In [`ETC`], one that cannot be read is masked.
fn unit(
    tree: &SystemTree,
    name: &str,
    is_own: bool,
    own: &[String],
    usr: Option<&str>,
) -> Option<FstabEntry> {
    let mut text = match is_own {
        true => tree.text(&format!("{ETC}/{name}"))?,
        false => tree.text(&format!("{}/{name}", usr?))?,
    };
    let drop_ins = format!("{name}.d");
    let mut directories: Vec<_> = usr.iter().map(|usr| format!("{usr}/{drop_ins}")).collect();
    if own.contains(&drop_ins) {
        directories.push(format!("{ETC}/{drop_ins}"));
    }
    for directory in directories {
        for file in tree.names(&directory) {
            if file.ends_with(".conf") {
                text.push('\n');
                text.extend(tree.text(&format!("{directory}/{file}")));
            }
        }
    }
    mount_unit::parse(name, &text)
}

#[cfg(test)]
mod tests {
    use super::super::super::root::RootDir;
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn enable(root: &Path, name: &str) {
        let wants = root.join("etc/systemd/system/local-fs.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        symlink(format!("/usr/lib/systemd/system/{name}"), wants.join(name)).unwrap();
    }

    #[test]
    fn units_that_are_enabled_are_mounts_and_those_of_the_administrator_come_before_fstab() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let unit = |what: &str| format!("[Mount]\nWhat=/dev/{what}\n");
        write(
            root,
            "etc/fstab",
            "/dev/fstab /srv ext4\n/dev/fstab /home ext4\n",
        );
        write(root, "etc/systemd/system/srv.mount", &unit("own"));
        write(root, "usr/lib/systemd/system/home.mount", &unit("usr"));
        write(root, "usr/lib/systemd/system/data.mount", &unit("usr"));
        write(
            root,
            "usr/lib/systemd/system/data.mount.d/a.conf",
            "[Mount]\nOptions=ro\n",
        );
        write(
            root,
            "usr/lib/systemd/system/not-enabled.mount",
            &unit("usr"),
        );
        write(root, "usr/lib/systemd/system/masked.mount", &unit("usr"));
        symlink("/dev/null", root.join("etc/systemd/system/masked.mount")).unwrap();
        for name in ["srv.mount", "home.mount", "data.automount", "masked.mount"] {
            enable(root, name);
        }
        let tree = SystemTree::new(RootDir::open(root).unwrap());
        let found = entries(&tree);
        let seen = found.iter().map(|entry| {
            format!(
                "{} {} {}",
                entry.source,
                entry.target,
                entry.options.join(",")
            )
        });
        let expected = ["/dev/own /srv ", "/dev/fstab /home ", "/dev/usr /data ro"];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}
