//! The store without a machine: who may use it, what is found again, what is thrown away.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bivouac::appliance::boot::ApplianceConfig;
use bivouac::template::key::Key;
use bivouac::template::memory;
use bivouac::template::store::{Store, StoreError};

use super::{begin, flip, key, publish, settings};
use crate::env::bivouac::Bivouac;

fn open(dir: &Path) -> Store {
    Store::open_at(&dir.join("templates")).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("templates")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_was_published_is_found_by_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.find(&key(256)).unwrap().is_none());
    publish(&store, &key(256), 64);
    let found = store.find(&key(256)).unwrap().unwrap();
    assert_eq!(found.state, b"the state");
    assert_eq!(
        memory::digest(&found.memory).unwrap(),
        found.manifest.memory_digest
    );
    assert!(store.find(&key(512)).unwrap().is_none());
    // Holes stay holes, and nobody else reads any of it.
    let listed = store.list().unwrap();
    assert!(listed[0].bytes < 128 << 10, "{} bytes", listed[0].bytes);
    assert!(listed[0].in_use);
    for entry in fs::read_dir(&found.path).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        // Only its QEMU can reach the memory, by a descriptor.
        let others = if entry.file_name() == "memory" {
            0o44
        } else {
            0
        };
        assert_eq!(mode & 0o077, others, "{:?}", entry.path());
    }
    let mode = fs::metadata(&found.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn a_store_that_others_may_enter_or_own_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("templates");
    open(dir.path());
    assert_eq!(
        fs::metadata(&place).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let refused = |words: &str| {
        let error = Store::open_at(&place).unwrap_err();
        assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some());
    };
    fs::set_permissions(&place, Permissions::from_mode(0o710)).unwrap();
    refused("other users can access it");
    fs::set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&place, Some(65534), None).unwrap();
        refused("another user");
    }
    fs::remove_dir(&place).unwrap();
    std::os::unix::fs::symlink(dir.path(), &place).unwrap();
    refused("not a directory");
}

#[test]
fn each_flipped_byte_and_each_missing_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = key(256);
    let found = |store: &Store| store.find(&key).map(|found| found.map(|_| ()));
    for (file, at) in [
        ("manifest", 60),
        ("manifest", 400),
        ("state", 3),
        ("memory", 5000),
    ] {
        publish(&store, &key, 64);
        let path = dir.path().join("templates").join(key.name());
        flip(&path.join(file), at);
        let error = found(&store).unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{file}: {error}"
        );
    }
    // It looks as old as before, and is shorter.
    publish(&store, &key, 64);
    let path = dir.path().join("templates").join(key.name());
    let memory = fs::File::options()
        .write(true)
        .open(path.join("memory"))
        .unwrap();
    let modified = memory.metadata().unwrap().modified().unwrap();
    memory.set_len(8 << 20).unwrap();
    memory.set_modified(modified).unwrap();
    assert!(matches!(found(&store), Err(StoreError::Damaged { .. })));
    for file in ["manifest", "state", "memory"] {
        publish(&store, &key, 64);
        fs::remove_file(path.join(file)).unwrap();
        assert!(found(&store).is_err(), "{file}");
    }
    // A template that is whole replaces one that is damaged.
    publish(&store, &key, 64);
    assert_eq!(found(&store).unwrap(), Some(()));
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn one_builds_and_what_a_dead_builder_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let building = begin(&store, &key(256));
    assert!(store.begin(&key(256)).unwrap().is_none());
    // Another template may be built meanwhile, and its builder sweeps nothing that is alive.
    drop(begin(&store, &key(512)));
    // One that is killed leaves nothing: until it publishes, there is only a lock, beside the store.
    assert!(names(dir.path()).is_empty());
    drop(building);
    assert!(names(dir.path()).is_empty());
    for left in [".new-1234", ".old-1234"] {
        let left = dir.path().join("templates").join(left);
        fs::create_dir(&left).unwrap();
        fs::write(left.join("memory"), "half").unwrap();
    }
    // Half of the very one.
    let half = dir
        .path()
        .join(format!("templates/.new-{}", key(256).name()));
    fs::create_dir(&half).unwrap();
    fs::write(half.join("manifest"), "half").unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(store.find(&key(256)).unwrap().is_none());
    publish(&store, &key(256), 64);
    assert_eq!(names(dir.path()), [key(256).name()]);
    assert!(store.find(&key(256)).unwrap().is_some());
}

#[test]
fn the_least_recently_used_makes_room_and_one_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (memory, age) in [(256, 300), (512, 200), (768, 100)] {
        publish(&store, &key(memory), 256);
        let path = dir.path().join("templates").join(key(memory).name());
        let long_ago = SystemTime::now() - Duration::from_secs(age);
        fs::File::open(path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    // Using it makes it the newest.
    drop(store.find(&key(256)).unwrap().unwrap());
    store.shrink(700 << 10).unwrap();
    assert!(store.find(&key(512)).unwrap().is_none());
    let used = store.find(&key(768)).unwrap().unwrap();
    assert!(store.find(&key(256)).unwrap().is_some());
    assert!(!store.remove(&key(768).name()).unwrap());
    store.shrink(0).unwrap();
    assert_eq!(names(dir.path()), [key(768).name()]);
    drop(used);
    assert!(store.remove(&key(768).name()).unwrap());
    assert!(names(dir.path()).is_empty());
    // Somebody else may be faster: it is gone.
    assert!(store.remove(&key(768).name()).unwrap());
}

#[test]
fn templates_are_removed_by_the_beginnings_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_at(&dir.path().join("bivouac/templates")).unwrap();
    for memory_mib in [256, 512, 768] {
        publish(&store, &key(memory_mib), 4);
    }
    let [first, second, third] = [256, 512, 768].map(|memory_mib| key(memory_mib).name());
    let remove = |names: &[&str]| {
        let run = Bivouac::new().args(["template", "rm"]).args(names);
        let finished = run.env("XDG_CACHE_HOME", dir.path()).output();
        let left = store.list().unwrap().len();
        (finished.code(), finished.stderr, left)
    };
    let no = "no templates have names that start with";
    for wrong in ["nosuch", ""] {
        let (code, said, left) = remove(&[&first, wrong]);
        assert_eq!((code, left), (Some(125), 3), "{said}");
        assert!(said.contains(no), "{said}");
    }
    let (code, said, left) = remove(&[&first, &first[..12]]);
    assert_eq!((code, left), (Some(0), 2), "{said}");
    assert_eq!(
        said.matches(&format!("removed {first}")).count(),
        1,
        "{said}"
    );
    // The one in use keeps no other from being removed.
    let used = store.find(&key(512)).unwrap().unwrap();
    let (code, said, left) = remove(&[&second, &third]);
    assert_eq!((code, left), (Some(125), 1), "{said}");
    assert!(said.contains(&format!("in use: {second}")), "{said}");
    drop(used);
}

#[test]
fn a_machine_that_cannot_be_saved_is_not_tried_again_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    begin(&store, &key(256))
        .give_up("QEMU has no such thing")
        .unwrap();
    let error = store.find(&key(256)).unwrap_err();
    assert!(
        error.to_string().contains("QEMU has no such thing"),
        "{error}"
    );
    let mark = dir
        .path()
        .join("templates")
        .join(key(256).name())
        .join("unusable");
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
    let mark = fs::File::options().write(true).open(mark).unwrap();
    mark.set_modified(long_ago).unwrap();
    let error = store.find(&key(256)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn each_thing_that_a_template_is_made_of_is_in_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let modules = dir.path().join("modules");
    fs::create_dir(&modules).unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, "one").unwrap();
        path
    };
    let mut own = settings(256);
    own.qemu = file("qemu");
    own.kernel.image = file("kernel");
    own.kernel.modules = Some(modules);
    file("modules/modules.dep");
    let name = |settings: &ApplianceConfig| Key::of_appliance(settings, 1).unwrap().name();
    let first = name(&own);
    assert_eq!(first, name(&own));
    let mut seen = vec![first];
    let mut is_new = |what: &str, name: String| {
        assert!(!seen.contains(&name), "{what}");
        seen.push(name);
    };
    let changed = ApplianceConfig {
        memory_mib: 512,
        ..own.clone()
    };
    is_new("memory", name(&changed));
    is_new(
        "cpus",
        name(&ApplianceConfig {
            cpus: 2,
            ..own.clone()
        }),
    );
    let kvm = bivouac::machine::plan::Accelerator::Kvm;
    is_new(
        "accelerator",
        name(&ApplianceConfig {
            accelerator: kvm,
            ..own.clone()
        }),
    );
    // QEMU is asked for one accelerator alone, and so uses what the key says or ends.
    for (asked, used) in [
        (bivouac::machine::plan::Accelerator::Tcg, "tcg"),
        (bivouac::machine::plan::Accelerator::KvmThenTcg, "kvm"),
        (kvm, "kvm"),
    ] {
        let settings = ApplianceConfig {
            accelerator: asked,
            ..own.clone()
        };
        let key = Key::of_appliance(&settings, 1).unwrap();
        assert_eq!(key.accelerator, used);
        let machine = format!("accel={used},");
        let named = |word: &&String| word.contains("accel=");
        let words: Vec<_> = key.arguments.iter().filter(named).collect();
        assert!(
            words.len() == 1 && words[0].contains(&machine),
            "{asked:?}: {words:?}"
        );
    }
    is_new("disks", Key::of_appliance(&own, 2).unwrap().name());
    for path in ["qemu", "kernel", "modules/modules.dep"] {
        let path = dir.path().join(path);
        // As long as before, and with its time put back: as a package manager might.
        let file = fs::File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        file.set_modified(modified).unwrap();
        is_new(&path.display().to_string(), name(&own));
    }
    let text = serde_json::to_string(&Key::of_appliance(&own, 1).unwrap()).unwrap();
    for part in [
        "processor",
        "host",
        "program",
        "arguments",
        "firmware",
        "model=",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
