//! Identifies the operating system whose files these are.

use super::older_release;
use super::system_tree::SystemTree;
use crate::linux::os_release;
use crate::protocol::disks::System;

/// Limit on each name, in characters.
const MAX_NAME: usize = 500;

/// The operating system; `None` if nothing shows that there is one. An fstab does, without a name.
pub(crate) fn identify(tree: &SystemTree) -> Option<System> {
    let (found, mut os) = by_os_release(tree);
    let mut is_system = found || tree.has("/etc/fstab");
    // The file may be there and say nothing.
    let lacks = os.name.is_none() || os.id.is_none() || os.version.as_deref() == Some("");
    let has_etc = is_system || tree.has_directory("/etc");
    if lacks
        && has_etc
        && let Some((path, older)) = older_release::identify(|path| tree.text(path))
    {
        is_system |= older_release::is_evidence(path);
        let version = os.version.filter(|version| !version.is_empty());
        os = System {
            name: os.name.or(older.name),
            id: os.id.or(older.id),
            version: version.or(older.version),
        };
    }
    match (is_system, has_etc) {
        (true, _) => {}
        (false, true) => return None,
        (false, false) => return windows(tree),
    }
    let short = |name: String| name.chars().take(MAX_NAME).collect();
    let filled = |field: Option<String>| field.filter(|text| !text.is_empty()).map(short);
    Some(System {
        id: filled(os.id),
        version: filled(os.version),
        name: filled(os.name),
    })
}

/// Whether a name or an `ID` is known.
pub(crate) fn is_named(os: &System) -> bool {
    os.name.is_some() || os.id.is_some()
}

/// What the first os-release says that has a name or an `ID`, and whether there is one at all. A
/// version that is set to nothing is empty.
fn by_os_release(tree: &SystemTree) -> (bool, System) {
    let mut first = None;
    for text in os_release::PATHS.iter().filter_map(|path| tree.text(path)) {
        let field = |name| os_release::field(text.as_bytes(), name);
        let version = field("VERSION_ID");
        let is_set = || {
            text.lines()
                .any(|line| line.trim().starts_with("VERSION_ID="))
        };
        let os = System {
            id: field("ID"),
            name: field("PRETTY_NAME").or_else(|| field("NAME")),
            version: version.or_else(|| is_set().then(String::new)),
        };
        if is_named(&os) {
            return (true, os);
        }
        first.get_or_insert(os);
    }
    (first.is_some(), first.unwrap_or_default())
}

/// Windows, whose names may be in either case.
fn windows(tree: &SystemTree) -> Option<System> {
    let find = |directory: &str, wanted: &str| {
        let names = tree.names(directory);
        let mut names = names.into_iter();
        names.find(|name| name.eq_ignore_ascii_case(wanted))
    };
    let top = find("/", "Windows").or_else(|| find("/", "WINNT"))?;
    let system = format!("/{top}/{}", find(&format!("/{top}"), "System32")?);
    find(&system, "config").or_else(|| find(&system, "ntoskrnl.exe"))?;
    Some(System {
        name: Some("Windows".to_owned()),
        id: Some("windows".to_owned()),
        version: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::root::RootDir;
    use super::*;
    use std::path::Path;

    fn identified(path: &Path) -> Option<System> {
        identify(&SystemTree::new(RootDir::open(path).unwrap()))
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_link_out_of_the_image_leads_back_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(
            dir.path(),
            &[("image/etc/x", ""), ("outside", "ID=outside")],
        );
        let link = std::os::unix::fs::symlink::<&str, _>;
        link("../../../../outside", at("image/etc/os-release")).unwrap();
        link("/etc/passwd", at("image/etc/fstab")).unwrap();
        assert!(identified(&at("image")).is_none());
        write(dir.path(), &[("image/outside", "ID=inside")]);
        let os = identified(&at("image")).unwrap();
        assert_eq!(os.id.as_deref(), Some("inside"));
    }

    #[test]
    fn a_fifo_in_place_of_an_os_release_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&dir.path().join("etc/os-release"), mode).unwrap();
        assert!(identified(dir.path()).is_none());
    }

    #[test]
    fn what_os_release_leaves_empty_an_older_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let suse = "SUSE Linux Enterprise Server 12\nVERSION = 12\n";
        write(
            dir.path(),
            &[
                ("etc/os-release", "# dummy\nNAME=\nID=\nVERSION_ID=\n"),
                ("etc/SuSE-release", suse),
            ],
        );
        let expected = System {
            name: Some("SUSE Linux Enterprise Server 12".into()),
            id: Some("sles".into()),
            version: Some("12".into()),
        };
        assert_eq!(identified(dir.path()), Some(expected.clone()));
        // The other os-release comes first.
        write(
            dir.path(),
            &[("usr/lib/os-release", "NAME=SLES\nID=sles\nVERSION_ID=\n")],
        );
        let name = Some("SLES".into());
        assert_eq!(identified(dir.path()), Some(System { name, ..expected }));
        // A rolling release has no version, whatever else is there.
        write(
            dir.path(),
            &[
                ("etc/os-release", "NAME=Arch\nID=arch\n"),
                ("etc/debian_version", "9\n"),
            ],
        );
        assert_eq!(identified(dir.path()).unwrap().version, None);
    }

    #[test]
    fn windows_is_known_by_its_directories_and_an_issue_alone_is_no_system() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("windows/SYSTEM32/x", "")]);
        assert_eq!(identified(dir.path()), None);
        write(dir.path(), &[("windows/SYSTEM32/Config/SYSTEM", "")]);
        assert_eq!(identified(dir.path()).unwrap().name.unwrap(), "Windows");
        write(dir.path(), &[("etc/issue", "hello\n")]);
        assert_eq!(identified(dir.path()), None);
    }
}
