//! What another user could put in the place of the store, or of a file in it, is not used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bivouac::template::store::{Store, StoreError};
use nix::unistd::geteuid;

use super::{key, publish};

const ANOTHER: u32 = 65534;

/// A directory with `a/b`, in which the store is.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(home.path("a/b")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open_at(&self.path("a/b/templates"))
    }

    /// That the store is refused because of this directory, and nothing was made in it.
    fn refused(&self, place: &str, words: &str) {
        let error = self.open().unwrap_err();
        assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
        let text = error.to_string();
        let named = format!("in {} are not used: ", self.path(place).display());
        assert!(text.contains(&named) && text.contains(words), "{text}");
        assert!(!self.path("a/b/templates").exists());
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_store_below_a_directory_that_others_can_exchange_is_refused() {
    let home = Home::new();
    let mode = |mode| fs::set_permissions(home.path("a"), Permissions::from_mode(mode)).unwrap();
    mode(0o757);
    home.refused("a", "other users can replace");
    if geteuid().is_root() {
        mode(0o775);
        home.refused("a", "other users can replace");
        mode(0o755);
        // `sudo -E`, and the home of another user.
        for place in ["a", "a/b"] {
            lchown(home.path(place), Some(ANOTHER), None).unwrap();
            home.refused(place, "another user");
            lchown(home.path(place), Some(0), None).unwrap();
        }
        fs::rename(home.path("a"), home.path("c")).unwrap();
        symlink("c", home.path("a")).unwrap();
        lchown(home.path("a"), Some(ANOTHER), None).unwrap();
        home.refused("a", "another user");
        lchown(home.path("a"), Some(0), None).unwrap();
    }
    // A link of the user's own above it, and a directory like /tmp.
    mode(0o1777);
    home.open().unwrap();
}

#[test]
fn a_store_that_is_exchanged_after_the_check_is_not_used() {
    let home = Home::new();
    let store = home.open().unwrap();
    publish(&store, &key(256), 64);
    // What an attacker put there is found by nobody who opened the other before.
    fs::rename(home.path("a"), home.path("own")).unwrap();
    fs::create_dir_all(home.path("a/b/templates")).unwrap();
    assert!(store.find(&key(256)).unwrap().is_some());
    publish(&store, &key(512), 64);
    assert_eq!(fs::read_dir(home.path("a/b/templates")).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(home.path("own/b/templates")).unwrap().count(),
        2
    );
}

#[test]
fn a_file_of_a_template_that_is_a_link_is_neither_read_nor_written() {
    let home = Home::new();
    let store = home.open().unwrap();
    let template = home.path("a/b/templates").join(key(256).name());
    let outside = home.path("outside");
    let link = |name: &str| {
        let _ = fs::remove_file(template.join(name));
        symlink(&outside, template.join(name)).unwrap();
    };
    publish(&store, &key(256), 64);
    let entry = store.find(&key(256)).unwrap().unwrap();
    link("unusable");
    store.mark_unusable(&entry, "x\n* * * * * root id");
    assert!(!outside.exists());
    let mark = fs::symlink_metadata(template.join("unusable")).unwrap();
    assert!(mark.is_file());
    drop(entry);
    for name in ["lock", "manifest", "state", "memory"] {
        assert!(store.remove(&key(256).name()).unwrap());
        publish(&store, &key(256), 64);
        // The very file: but by a link, and by another name of it.
        fs::rename(template.join(name), &outside).unwrap();
        link(name);
        assert!(store.find(&key(256)).is_err(), "{name}");
        fs::remove_file(template.join(name)).unwrap();
        fs::hard_link(&outside, template.join(name)).unwrap();
        assert!(store.find(&key(256)).is_err(), "{name}");
        fs::remove_file(&outside).unwrap();
    }
    // A template that is a link is none, and what it leads to stays.
    assert!(store.remove(&key(256).name()).unwrap());
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    for name in [key(256).name(), ".old-1".to_owned(), ".new-1".to_owned()] {
        symlink(&outside, home.path("a/b/templates").join(name)).unwrap();
    }
    assert!(store.find(&key(256)).is_err());
    assert!(store.list().unwrap().is_empty());
    store.sweep();
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

/// `HOME` is that of another user under `sudo -E`.
#[test]
fn roots_store_is_not_below_home() {
    if !geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    lchown(home.path(), Some(ANOTHER), None).unwrap();
    let script = "mount -t tmpfs -o mode=755 none /var/cache && exec \"$1\" template ls";
    let finished = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(env!("CARGO_BIN_EXE_bivouac"))
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&finished.stdout).into_owned();
    assert!(finished.status.success(), "{finished:?}");
    assert!(said.contains("/var/cache/bivouac/templates"), "{said}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    assert_eq!(fs::metadata(Path::new(home.path())).unwrap().uid(), ANOTHER);
}
