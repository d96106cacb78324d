//! Identifies the operating system whose root directory this is, by os-release(5) and fstab(5).

use super::super::root::RootDir;
use crate::block::fstab::{self, FstabEntry};
use crate::linux::os_release;
use crate::protocol::disks::System;

/// Files of which the first line names the system.
const OLDER: [&str; 3] = ["/etc/redhat-release", "/etc/SuSE-release", "/etc/issue"];

/// Limit on each name, in characters.
const MAX_NAME: usize = 500;

/// The operating system and its fstab; `None` if the directory has neither os-release nor fstab.
pub(crate) fn identify(root: &RootDir) -> Option<(System, Vec<FstabEntry>)> {
    let text = |paths: &[&str]| paths.iter().find_map(|path| root.text(path));
    let release = text(&os_release::PATHS);
    let fstab = root.text("/etc/fstab");
    if release.is_none() && fstab.is_none() {
        return None;
    }
    let mut os = by_os_release(&release.unwrap_or_default());
    // Older systems have one of these, and os-release may be there and say nothing.
    if os.name.is_none() && os.id.is_none() {
        os.name = OLDER.iter().find_map(|path| {
            let text = root.text(path)?;
            let line = text.lines().next()?.trim();
            (!line.is_empty()).then(|| line.to_owned())
        });
    }
    let short = |name: String| name.chars().take(MAX_NAME).collect();
    let os = System {
        id: os.id.map(short),
        version: os.version.map(short),
        name: os.name.map(short),
    };
    Some((os, fstab::parse(&fstab.unwrap_or_default())))
}

fn by_os_release(text: &str) -> System {
    let field = |name| os_release::field(text.as_bytes(), name);
    System {
        id: field("ID"),
        version: field("VERSION_ID"),
        name: field("PRETTY_NAME").or_else(|| field("NAME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(path: &std::path::Path) -> Option<System> {
        let (os, _) = identify(&RootDir::open(path).unwrap())?;
        Some(os)
    }

    #[test]
    fn a_link_out_of_the_image_leads_back_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("image/etc")).unwrap();
        std::fs::write(at("outside"), "ID=outside").unwrap();
        let link = std::os::unix::fs::symlink::<&str, _>;
        link("../../../../outside", at("image/etc/os-release")).unwrap();
        link("/etc/passwd", at("image/etc/fstab")).unwrap();
        assert!(identified(&at("image")).is_none());
        std::fs::write(at("image/outside"), "ID=inside").unwrap();
        let os = identified(&at("image")).unwrap();
        assert_eq!(os.id.as_deref(), Some("inside"));
    }

    #[test]
    fn a_fifo_in_place_of_an_fstab_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&dir.path().join("etc/fstab"), mode).unwrap();
        assert!(identified(dir.path()).is_none());
    }
}
