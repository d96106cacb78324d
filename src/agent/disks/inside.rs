//! Files of an image's, opened below its root and nowhere else: the kernel resolves every link
//! as if the image's root were `/` (openat2(2), RESOLVE_IN_ROOT). Nothing that is no regular
//! file is opened, and no more is read than a limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::fstab;
use super::text::lossy;
use crate::guest::wire::disks::System;

/// Larger is no fstab, and no os-release.
const LIMIT: u64 = 256 * 1024;
/// In characters.
const LONGEST_NAME: usize = 500;

/// A directory that is, or may be, an image's root.
#[derive(Debug)]
pub struct Inside {
    directory: OwnedFd,
}

impl Inside {
    /// The image that is mounted at `path`.
    ///
    /// # Errors
    /// What opening says.
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: open(path, flags, Mode::empty())?,
        })
    }

    /// Something below, as a place only: a mount point, for instance.
    ///
    /// # Errors
    /// What opening says.
    pub fn place(&self, path: &str) -> io::Result<OwnedFd> {
        self.open(path, OFlag::O_PATH)
    }

    /// A directory below as a root of its own, such as a subvolume.
    ///
    /// # Errors
    /// What opening says.
    pub fn below(&self, path: &str) -> io::Result<Self> {
        let directory = self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok(Self { directory })
    }

    /// The text of a small regular file; `None` where it is none.
    pub fn text(&self, path: &str) -> Option<String> {
        // Asked before it is opened for reading: opening a device or a FIFO does things.
        let place = File::from(self.place(path).ok()?);
        if !place.metadata().ok()?.is_file() {
            return None;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.open(path, flags).ok()?);
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        bytes.retain(|byte| *byte != 0);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The operating system whose root this is, and its fstab.
    pub fn system(&self) -> Option<(System, Vec<fstab::Entry>)> {
        let release = ["/etc/os-release", "/usr/lib/os-release"];
        let release = release.iter().find_map(|path| self.text(path));
        let fstab = self.text("/etc/fstab");
        // Before os-release there were these; /usr may be on another filesystem, too.
        let older = || {
            let files = ["/etc/redhat-release", "/etc/SuSE-release", "/etc/issue"];
            let line = files.iter().find_map(|path| self.text(path));
            line.and_then(|text| text.lines().next().map(str::to_owned))
        };
        let os = match (&release, &fstab) {
            (Some(text), _) => os_release(text),
            (None, Some(_)) => System {
                name: older().filter(|name| !name.is_empty()),
                ..System::default()
            },
            (None, None) => return None,
        };
        let os = System {
            id: os.id.map(short),
            version: os.version.map(short),
            name: os.name.map(short),
        };
        Some((os, fstab::parse(&fstab.unwrap_or_default())))
    }

    fn open(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(self.directory.as_fd(), path, how)?)
    }

    /// Itself, as a descriptor.
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }
}

/// As much of a system's name as anyone reads.
fn short(text: String) -> String {
    text.chars().take(LONGEST_NAME).collect()
}

/// os-release(5): assignments as a shell has them, without expansions.
pub fn os_release(text: &str) -> System {
    let value = |name: &str| {
        let line = text.lines().rev().find_map(|line| {
            let (key, value) = line.trim().split_once('=')?;
            (key == name).then_some(value)
        })?;
        let value = unquoted(line.trim());
        (!value.is_empty()).then_some(value)
    };
    System {
        id: value("ID"),
        version: value("VERSION_ID"),
        name: value("PRETTY_NAME").or_else(|| value("NAME")),
    }
}

/// In quotes of either sort, or without; a backslash within takes the next as it is.
fn unquoted(value: &str) -> String {
    let quote = value.chars().next().filter(|c| "\"'".contains(*c));
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut characters = inner.unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quote != Some('\'') => text.extend(characters.next()),
            character => text.push(character),
        }
    }
    lossy(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn os_release_is_read_in_every_quoting() {
        let os = os_release(
            "# comment\nID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian \"12\"'\nID=later\n",
        );
        assert_eq!(os.id.as_deref(), Some("later"));
        assert_eq!(os.version.as_deref(), Some("12"));
        assert_eq!(os.name.as_deref(), Some("Debian \"12\""));
        assert_eq!(
            os_release("NAME=\"a \\\"b\\\"\"").name.as_deref(),
            Some("a \"b\"")
        );
        assert_eq!(os_release("ID=\nID"), System::default());
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
        let image = Inside::at(&at("image")).unwrap();
        assert!(image.system().is_none());
        std::fs::write(at("image/outside"), "ID=inside").unwrap();
        let (os, _) = image.system().unwrap();
        assert_eq!(os.id.as_deref(), Some("inside"));
    }

    #[test]
    fn a_fifo_for_an_fstab_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("etc/fstab"), Mode::S_IRWXU).unwrap();
        assert!(Inside::at(dir.path()).unwrap().system().is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_an_os_release_without_a_panic(text in "(?s).{0,300}") {
            os_release(&text);
        }
    }
}
