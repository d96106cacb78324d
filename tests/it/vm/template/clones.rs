//! Clones of one template: each answers, none changes it, each has random numbers of its own and
//! the right time.

use std::time::{SystemTime, UNIX_EPOCH};

use bivouac::template::memory;

use super::{chroot_with, only_template, templates, was_booted, was_built, was_restored};
use crate::env::guests::guest;
use crate::env::qemu10;

/// The time, random bytes, a file of the image, and then memory until there is little left.
const SCRIPT: &str = "echo time $(date +%s) told; \
     head -c 16 /dev/urandom | od -An -tx1; cat /etc/hostname; \
     mib=$(awk '/^MemAvailable/ { print int($2 / 1024) - 40 }' /proc/meminfo); \
     mount -t tmpfs -o size=100% none /mnt 2>/dev/null; \
     head -c ${mib}M /dev/zero | tr '\\0' x > /mnt/full; stat -c %s /mnt/full";

fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

fn clones_by(options: &[String]) {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("debian12.qcow2");
    let image = image.to_str().unwrap();
    let start = |script: &str| chroot_with(home.path(), options, image, script);
    let first = start("cat /etc/hostname").output();
    assert_eq!(first.stdout, "debian12\n", "{first:?}");
    assert!(was_restored(&first) && !was_booted(&first), "{first:?}");
    let path = only_template(home.path()).join("memory");
    let digest = || memory::digest(&std::fs::File::open(&path).unwrap()).unwrap();
    let before = (
        digest(),
        std::fs::metadata(&path).unwrap().modified().unwrap(),
    );

    let earliest = seconds();
    let both = [start(SCRIPT).start(), start(SCRIPT).start()];
    let both = both.map(|mut running| {
        running.wait_for("told");
        (seconds(), running)
    });
    let both = both.map(|(latest, running)| (latest, running.wait()));
    let mut random = Vec::new();
    for (latest, clone) in &both {
        assert!(was_restored(clone) && !was_booted(clone), "{clone:?}");
        // It took one build, and nobody began another.
        assert!(!was_built(clone), "{clone:?}");
        let lines: Vec<_> = clone.stdout.lines().collect();
        let [time, bytes, name, written] = lines[..] else {
            panic!("{clone:?}");
        };
        random.push(bytes.to_owned());
        let time: u64 = time.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(
            (earliest..=*latest).contains(&time),
            "{time} in {earliest}..={latest}"
        );
        assert_eq!(name, "debian12");
        let written: u64 = written.parse().unwrap();
        assert!(written > 64 << 20, "{written} bytes of memory written");
    }
    assert_ne!(random[0], random[1]);
    let after = (
        digest(),
        std::fs::metadata(&path).unwrap().modified().unwrap(),
    );
    assert_eq!(
        before, after,
        "nothing of a template changes while clones run"
    );
    let left = std::fs::read_dir(templates(home.path())).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn clones_answer_differ_in_their_random_numbers_and_leave_their_template_as_it_was() {
    clones_by(&[]);
}

#[test]
fn clones_of_qemu_10_map_a_memory_that_they_may_only_read() {
    clones_by(&qemu10::options());
}
