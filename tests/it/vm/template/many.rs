//! Many commands with one store: two first ones at once, a row of them, other programs, and a disk
//! without room. Each answers rightly, and nothing is left but the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{only_template, templates, was_booted, was_built, was_restored};
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::residue::{alive, files};

const HOSTNAME: &str = "debian12\n";

/// `bivouac cat` of a small file, in an appliance of 256 MiB, with a store below `home`.
fn cat(home: &Path) -> Bivouac {
    cat_by(Bivouac::new(), home)
}

fn cat_by(program: Bivouac, home: &Path) -> Bivouac {
    let place = format!("{}:/etc/hostname", guest("debian12.qcow2").display());
    program
        .args(["cat", "-v", "--memory", "256M"])
        .reporting()
        .arg(&place)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("TMPDIR", home.join("tmp"))
}

/// Every file below the store with its size and time, but not those of directories, which tell when
/// they were used. Not its blocks: a filesystem counts fewer once it has written a file.
fn state(home: &Path) -> BTreeMap<PathBuf, (u64, i64)> {
    let found = files(&[home]);
    let looked = found.into_iter().map(|path| {
        let data = fs::symlink_metadata(&path).unwrap();
        let told = match data.is_dir() {
            true => (0, 0),
            false => (data.len(), data.mtime()),
        };
        (path, told)
    });
    looked.collect()
}

#[test]
fn two_first_ones_build_one_template_and_those_that_follow_leave_nothing() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = home.path();
    fs::create_dir(home.join("tmp")).unwrap();
    let both = [cat(home).start(), cat(home).start()].map(|running| running.wait());
    for first in &both {
        assert_eq!(first.stdout, HOSTNAME, "{first:?}");
        assert!(was_restored(first) && !was_booted(first), "{first:?}");
    }
    // One was booted and saved, two restored.
    let built = both.iter().filter(|first| was_built(first)).count();
    assert_eq!(built, 1, "{both:?}");
    let first = only_template(&home.join("cache"));

    let before = state(home);
    for _ in 0..8 {
        let finished = cat(home).output();
        assert_eq!(finished.stdout, HOSTNAME, "{finished:?}");
        assert!(was_restored(&finished), "{finished:?}");
        let id = finished.stderr.split("QEMU has process id Some(").nth(1);
        let id = id.and_then(|text| text.split(')').next()).unwrap();
        assert!(!alive(nix::unistd::Pid::from_raw(id.parse().unwrap())));
        assert_eq!(state(home), before);
    }
    the_report_tells_each_step(home, &first);

    // The same program as another file: who knows what was changed in it.
    let copy = home.join("tmp/bivouac");
    fs::copy(env!("CARGO_BIN_EXE_bivouac"), &copy).unwrap();
    let finished = cat_by(Bivouac::by(&copy), home).output();
    assert_eq!(finished.stdout, HOSTNAME, "{finished:?}");
    assert!(was_built(&finished), "{finished:?}");
    let names = fs::read_dir(templates(&home.join("cache"))).unwrap();
    assert_eq!(names.count(), 2);
}

fn the_report_tells_each_step(home: &Path, template: &Path) {
    let finished = cat(home).output();
    assert_eq!(finished.stdout, HOSTNAME, "{finished:?}");
    let report = &finished.report;
    assert_eq!(report["verdict"]["end"], "done", "{report:#}");
    let look = &report["looks"][0];
    assert_eq!(look["accelerator"]["used"], "tcg", "{report:#}");
    assert_eq!(look["template"], *template.to_str().unwrap());
    assert_eq!(look["layers"][0]["unchanged"], true, "{report:#}");
    let steps = [
        "image",
        "kvm-check",
        "template",
        "spawned",
        "greeted",
        "restored",
        "checked",
        "running",
        "disks",
        "agent",
        "clock",
        "survey",
        "mounted",
        "first-output",
        "done",
        "ended",
    ];
    let times = steps.map(|step| look["phases"][step].as_f64().expect(step));
    assert!(times.is_sorted(), "{report:#}");
    let phases = look["phases"].as_object().unwrap();
    assert_eq!(phases.len(), steps.len(), "{report:#}");
    every_name_stands_in_the_page(report);
}

fn every_name_stands_in_the_page(report: &Value) {
    let mut names = BTreeSet::new();
    let mut queue = vec![report];
    while let Some(value) = queue.pop() {
        match value {
            Value::Object(object) => {
                names.extend(object.keys().cloned());
                queue.extend(object.values());
            }
            Value::Array(array) => queue.extend(array),
            _ => {}
        }
    }
    let page = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name);
        fs::read_to_string(path).unwrap()
    };
    // Those of layers and overlays are told with the report of `run`.
    let text = page("bivouac.1") + &page("bivouac-run.1");
    let documented: BTreeSet<_> = text.split([' ', '\n', '(']).collect();
    for name in names {
        assert!(documented.contains(&*name), "{name}");
    }
}

#[test]
fn a_full_disk_is_an_answer_all_the_same_with_a_word_and_nothing_kept() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = home.path();
    for name in ["tmp", "cache"] {
        fs::create_dir(home.join(name)).unwrap();
    }
    // What is left in the file system of eight megabytes is shown after the answer.
    let script = "mount -t tmpfs -o size=8m,mode=0700 none \"$XDG_CACHE_HOME\" || exit 99; \
         \"$@\"; status=$?; find \"$XDG_CACHE_HOME\" -mindepth 3; exit $status";
    let mut program = Bivouac::by(Path::new("unshare")).arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        program = program.arg("--map-root-user");
    }
    let program = program.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_bivouac")]);
    let finished = cat_by(program, home).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stdout, HOSTNAME, "{finished:?}");
    assert!(was_restored(&finished), "{finished:?}");
    let word = "bivouac: warning: the template is not kept: writing";
    assert!(
        finished.stderr.contains(word) && finished.stderr.contains("No space"),
        "{finished:?}"
    );
}
