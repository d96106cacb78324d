//! Where copies go, and that none is led elsewhere by what an earlier copy created.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bivouac::archive::{ArchiveStats, BeneathDir, Kind, Member, Policy, unpack};
use bivouac::commands::destination::{Destination, DestinationError};
use bivouac::commands::tar_transfer::umask;
use nix::errno::Errno;

use super::transfer::stream;
use crate::env::bivouac::Bivouac;

/// A destination with the directories `out` and `victim`, and a link to each.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for name in ["out", "victim"] {
            fs::create_dir(host.path(name)).unwrap();
            symlink(host.path(name), host.path(&format!("to-{name}"))).unwrap();
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, typed: &str) -> Result<Destination, DestinationError> {
        Destination::open(&self.path(typed))
    }
}

/// One copy of a file, link or directory called `source` in the guest.
fn copy(to: &Destination, source: &str, kind: Kind, link: &Path) -> ArchiveStats {
    let target = to.target(Some(source.as_bytes())).unwrap();
    let policy = Policy {
        only: target.only(),
        ..Policy::default()
    };
    let mut member = Member::new(target.name, kind);
    (member.mode, member.target) = (0o755, link.to_str().unwrap().into());
    member.size = if kind == Kind::File { 4 } else { 0 };
    unpack(&target.directory, &policy, &stream(&[member])[..]).unwrap()
}

fn file(to: &Destination, source: &str) {
    let copied = copy(to, source, Kind::File, Path::new(""));
    assert_eq!(copied.failed, 0, "{copied:?}");
}

#[test]
fn a_copy_goes_where_cp_would_put_it() {
    let host = Host::new();
    for (typed, at) in [
        ("out", "out/file"),
        ("out/", "out/file"),
        ("out/.", "out/file"),
        ("to-out/", "out/file"),
        ("out/new", "out/new"),
        ("new", "new"),
        ("out/tree/", "out/tree"),
    ] {
        file(&host.open(typed).unwrap(), "file");
        fs::remove_file(host.path(at)).expect(typed);
    }
    let refused = |typed: &str| host.open(typed).unwrap_err().hint();
    let missing = refused("missing/new").unwrap();
    assert!(missing.starts_with("mkdir -p /"), "{missing}");
    // The root of an image goes into the directory, but never into that of this host.
    let root = host.open("out").unwrap().target(None).unwrap();
    assert_eq!((root.only(), root.name), (None, b".".to_vec()));
    let own = Destination::open(Path::new("/")).unwrap();
    assert!(matches!(own.target(None), Err(DestinationError::NoName(_))));
    let several = |typed: &str| host.open(typed).unwrap().for_several();
    assert!(several("out").is_ok());
    let hint = several("new").unwrap_err().hint().unwrap();
    assert_eq!(hint, format!("mkdir {}", host.path("new").display()));
}

#[test]
fn a_link_that_an_earlier_run_left_is_not_followed() {
    let host = Host::new();
    let first = host.open("T").unwrap();
    let copied = copy(&first, "T", Kind::Link, &host.path("victim"));
    assert_eq!((copied.failed, copied.links_out), (0, 1));
    // The same command again, in another process.
    let error = host.open("T").unwrap_err();
    assert!(matches!(error, DestinationError::Link(_)), "{error}");
    let typed = host.path("T");
    let hint = format!(
        "`{0}/` copies to where it leads; `rm {0}` removes the link",
        typed.display()
    );
    assert_eq!(error.hint(), Some(hint.clone()));
    let image = host.path("disk.raw");
    fs::write(&image, [0; 4096]).unwrap();
    let source = format!("{}:/T", image.display());
    let again = Bivouac::new().args(["cp", &source]).arg(&typed).output();
    assert_eq!(again.code(), Some(125), "{again:?}");
    assert!(again.stderr.contains(&hint), "{again:?}");
    // One that leads to no directory is replaced, as a file is.
    fs::write(host.path("victim/file"), "kept").unwrap();
    symlink(host.path("victim/file"), host.path("F")).unwrap();
    file(&host.open("F").unwrap(), "F");
    assert_eq!(fs::read(host.path("F")).unwrap(), b"xxxx");
    assert_eq!(fs::read(host.path("victim/file")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(host.path("victim")).unwrap().count(), 1);
}

#[test]
fn a_link_that_an_earlier_copy_of_a_run_left_is_not_followed() {
    let host = Host::new();
    let open = |typed: &str| Destination::open_one_of(&host.path(typed)).unwrap();
    let [first, inside, below, same] = ["out", "out/log/", "out/log/deep", "out/log"].map(open);
    copy(&first, "log", Kind::Link, &host.path("victim"));
    for later in [&inside, &below] {
        let error = later.target(Some(b"x")).unwrap_err();
        assert!(matches!(error, DestinationError::Io { .. }), "{error}");
    }
    file(&same, "x");
    assert!(
        fs::symlink_metadata(host.path("out/log"))
            .unwrap()
            .is_file()
    );
    assert_eq!(fs::read_dir(host.path("victim")).unwrap().count(), 0);
    // What is no link can be built upon.
    let [tree, inside, below] = ["out/t", "out/t/", "out/t/u"].map(open);
    copy(&tree, "t", Kind::Directory, Path::new(""));
    file(&inside, "x");
    file(&below, "y");
    file(&tree, "z");
    for name in ["x", "u", "z"] {
        assert!(host.path("out/t").join(name).is_file(), "{name}");
    }
}

#[test]
fn links_are_told_apart_by_where_they_lead() {
    let host = Host::new();
    let policy = Policy::default();
    let leads_out = |path: &str, target: &str| {
        let mut member = Member::new(path.into(), Kind::Link);
        member.target = target.into();
        let place = BeneathDir::at(&host.path("out")).unwrap();
        let copied = unpack(&place, &policy, &stream(&[member])[..]).unwrap();
        copied.links_out == 1
    };
    assert!(leads_out("a", "/etc"));
    assert!(leads_out("./a", ".."));
    assert!(leads_out("top/a", "../x/../../y"));
    assert!(!leads_out("top/a", "../b"));
    assert!(!leads_out("a", "usr/../bin"));
}

#[test]
fn a_copy_is_no_more_than_data_unless_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let place = BeneathDir::at(dir.path()).unwrap();
    let kinds = [Kind::File, Kind::Directory, Kind::Fifo];
    let members = kinds.map(|kind| {
        let mut member = Member::new(format!("{kind:?}").into(), kind);
        member.mode = 0o7777;
        member
    });
    let mode = |name: &str| {
        let found = fs::metadata(dir.path().join(name)).unwrap();
        found.permissions().mode() & 0o7777
    };
    let policy = Policy {
        umask: 0o027,
        ..Policy::default()
    };
    let copied = unpack(&place, &policy, &stream(&members)[..]).unwrap();
    assert_eq!(copied.first, Some((b"Fifo".to_vec(), Errno::EPERM)));
    assert_eq!((mode("File"), mode("Directory")), (0o750, 0o750));
    assert!(!dir.path().join("Fifo").exists());
    let archive = Policy {
        privileges: true,
        ..policy
    };
    let copied = unpack(&place, &archive, &stream(&members)[..]).unwrap();
    assert_eq!(copied.failed, 0, "{copied:?}");
    for kind in kinds {
        assert_eq!(mode(&format!("{kind:?}")), 0o7777, "{kind:?}");
    }
    // What /proc says of this process.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("Umask:"));
    assert_eq!(line, Some(&*format!("Umask:\t{:04o}", umask())));
}
