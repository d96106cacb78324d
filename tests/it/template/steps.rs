//! Templates that are made from others by steps, and those with names, without a machine.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::slice;
use std::time::SystemTime;

use bivouac::launch::Command;
use bivouac::template::content;
use bivouac::template::key::{CopyKey, Key, StepKey};
use bivouac::template::store::{NameRecord, Store, parse_name};

use super::{key, publish};
use crate::env::cases::Cases;

/// A tree with a bit of everything.
fn tree(top: &Path) {
    fs::create_dir_all(top.join("a/deep")).unwrap();
    fs::write(top.join("a/file"), "text").unwrap();
    fs::write(top.join("a/deep/other"), vec![7; 600_000]).unwrap();
    symlink("file", top.join("a/link")).unwrap();
    fs::set_permissions(top.join("a/file"), Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn what_is_copied_is_known_by_names_types_modes_and_contents_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    tree(&one);
    tree(&other);
    let first = content::digest(&one.join("a")).unwrap();
    let old = File::options()
        .write(true)
        .open(other.join("a/file"))
        .unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(content::digest(&other.join("a")).unwrap(), first);
    // A link at the top is followed.
    symlink("other/a", dir.path().join("to")).unwrap();
    assert_eq!(content::digest(&dir.path().join("to")).unwrap(), first);

    let mut seen = vec![first];
    let mut cases = Cases::default();
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("content", |top| {
            fs::write(top.join("a/file"), "texT").unwrap()
        }),
        ("length", |top| fs::write(top.join("a/file"), "").unwrap()),
        ("end of a long file", |top| {
            let mut bytes = vec![7; 600_000];
            bytes[599_999] = 8;
            fs::write(top.join("a/deep/other"), bytes).unwrap();
        }),
        ("mode", |top| {
            fs::set_permissions(top.join("a/file"), Permissions::from_mode(0o755)).unwrap();
        }),
        ("target", |top| {
            fs::remove_file(top.join("a/link")).unwrap();
            symlink("elif", top.join("a/link")).unwrap();
        }),
        ("name", |top| {
            fs::rename(top.join("a/file"), top.join("a/elif")).unwrap()
        }),
        ("one more", |top| fs::write(top.join("a/zero"), "").unwrap()),
        ("place", |top| {
            fs::rename(top.join("a/zero"), top.join("a/deep/zero")).unwrap();
        }),
    ];
    for (what, change) in changes {
        change(&other);
        let now = content::digest(&other.join("a")).unwrap();
        cases.case(what, || assert!(!seen.contains(&now)));
        seen.push(now);
    }
    drop(cases);
    assert!(content::digest(&dir.path().join("missing")).is_err());
}

fn step(script: &str) -> StepKey {
    StepKey {
        command: Command::new(["/bin/sh", "-c", script]),
        copies: vec![CopyKey {
            target: "/srv/".to_owned(),
            name: "file".to_owned(),
            digest: "0".to_owned(),
        }],
    }
}

fn after(steps: &[StepKey]) -> Key {
    Key {
        steps: steps.to_vec(),
        ..key(256)
    }
}

#[test]
fn each_thing_that_a_step_is_made_of_is_in_its_key() {
    let own = step("true");
    let mut changed = vec![own.clone(); 7];
    changed[0].command.argv[2] = "false".into();
    changed[1].command.user = Some(bivouac::protocol::User::Name("daemon".into()));
    changed[2].command.env = vec![("A".into(), "b".into())];
    changed[3].command.workdir = Some("/srv".into());
    changed[4].copies[0].digest = "1".to_owned();
    changed[5].copies[0].target = "/srv".to_owned();
    changed[6].copies.clear();
    let mut names = vec![key(256).name(), after(slice::from_ref(&own)).name()];
    names.push(after(&[own.clone(), own.clone()]).name());
    names.extend(
        changed
            .iter()
            .map(|step| after(slice::from_ref(step)).name()),
    );
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);

    // Its parent is what it was made from.
    let second = after(&[own.clone(), changed[0].clone()]);
    let first = second.parent().unwrap();
    assert_eq!(first, after(&[own]));
    assert_eq!(first.parent().unwrap(), key(256));
    assert_eq!(key(256).parent(), None);
    // Without steps it is written as it was before there were any.
    let text = serde_json::to_string(&key(256)).unwrap();
    assert!(!text.contains("steps"));
}

#[test]
fn a_template_with_a_name_is_found_by_it_and_makes_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_at(&dir.path().join("templates")).unwrap();
    let record = |name: &str| NameRecord {
        name: name.to_owned(),
        words: vec!["--memory=1G".into(), "/images/a b".into()],
    };
    let (first, second) = (after(&[step("1")]), after(&[step("2")]));
    assert!(!store.set_name(&first, &record("one")).unwrap());
    for key in [&first, &second, &key(256)] {
        publish(&store, key, 64);
    }
    assert!(store.set_name(&first, &record("one")).unwrap());
    assert!(store.set_name(&second, &record("two")).unwrap());
    let found = store.named("one").unwrap().unwrap();
    assert_eq!((found.key, found.record), (first.clone(), record("one")));
    assert!(store.named("three").unwrap().is_none());

    store.shrink(0).unwrap();
    let named = |store: &Store| {
        let mut names: Vec<_> = store
            .list()
            .unwrap()
            .into_iter()
            .map(|one| one.named)
            .collect();
        names.sort();
        names
    };
    assert_eq!(named(&store), [Some("one".into()), Some("two".into())]);
    // It goes over to another, and the one that had it is a template as any.
    assert!(store.set_name(&second, &record("one")).unwrap());
    assert_eq!(store.named("one").unwrap().unwrap().key, second);
    assert!(store.named("two").unwrap().is_none());
    store.shrink(0).unwrap();
    assert_eq!(named(&store), [Some("one".into())]);
    assert!(store.remove(&second.name()).unwrap());
    assert!(store.named("one").unwrap().is_none());
}

#[test]
fn a_name_is_a_word() {
    for right in ["a", "gcc-12.2", "A_b", "1"] {
        assert_eq!(parse_name(right), Ok(right.to_owned()));
    }
    let long = "a".repeat(65);
    for wrong in ["", ".a", "-a", "a/b", "a b", "ä", "..", &long] {
        assert!(parse_name(wrong).is_err(), "{wrong}");
    }
}
