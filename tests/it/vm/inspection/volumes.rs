//! Volumes of every sort that LVM and MD make, each with a system on it.

use std::path::Path;

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::empty;
use crate::env::residue::sha256;
use crate::env::toolbox::Toolbox;

/// `bivouac COMMAND`, with further disks of the same machine.
fn bivouac(command: &[&str], image: &str, others: &[&Path]) -> Finished {
    let mut bivouac = Bivouac::new().args(command).arg(image);
    for other in others {
        bivouac = bivouac.arg("--disk").arg(other);
    }
    bivouac.output()
}

fn hostname(root: &str, image: &Path, others: &[&Path]) -> Finished {
    let place = format!("{}:/etc/hostname", image.display());
    let root: &[&str] = if root.is_empty() {
        &[]
    } else {
        &["--root", root]
    };
    bivouac(&[&["cat"], root].concat(), &place, others)
}

fn inspect(image: &Path, others: &[&Path]) -> (Finished, Value) {
    let done = bivouac(&["inspect", "--json"], image.to_str().unwrap(), others);
    let report = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    (done, report)
}

/// The warnings as `CODE DEVICE`.
fn warnings(report: &Value) -> Vec<String> {
    let warnings = report["warnings"].as_array().unwrap().iter();
    let line = |warning: &Value| {
        let word = |key: &str| warning[key].as_str().unwrap_or("-").to_owned();
        format!("{} {}", word("code"), word("device"))
    };
    warnings.map(line).collect()
}

/// One volume group a disk, but the mirrored one and the outer one.
const LVM: &str = r#"
for disk; do lvm pvcreate -q -y "$disk"; done
lvm vgcreate -q thin "$1"
lvm lvcreate -q -y -L 20M -T thin/pool
lvm lvcreate -q -y -V 60M -T thin/pool -n root
tree thin /dev/thin/root
lvm vgcreate -q mirror "$2" "$3"
lvm lvcreate -q -y --type mirror -m1 --mirrorlog core --nosync -L 20M -n root mirror
tree mirror /dev/mirror/root
lvm vgcreate -q raid "$4" "$5"
lvm lvcreate -q -y --type raid1 -m1 --nosync -L 20M -n root raid
tree raid /dev/raid/root
lvm vgcreate -q cache "$6"
lvm lvcreate -q -y -L 16M -n root cache
tree cache /dev/cache/root
lvm lvcreate -q -y --type cache-pool -L 8M -n fast cache
lvm lvconvert -q -y --type cache --cachepool cache/fast --cachemode writethrough cache/root
lvm vgcreate -q snap "$7"
lvm lvcreate -q -y -L 16M -n root snap
tree snap /dev/snap/root
lvm lvcreate -q -y -s -L 8M -n before-upgrade snap/root
mount /dev/snap/root /tmp
echo changed >/tmp/etc/hostname
umount /tmp
lvm vgcreate -q outer "$8"
lvm lvcreate -q -y -l 100%FREE -n disk outer
lvm pvcreate -q -y /dev/outer/disk
lvm vgcreate -q inner /dev/outer/disk
lvm lvcreate -q -y -L 20M -n root inner
tree inner /dev/inner/root
lvm vgchange -q -an inner
lvm vgchange -q -an
"#;

#[test]
fn systems_on_logical_volumes_of_every_sort_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let names = ["thin", "mirror", "raid", "cache", "snap", "inner"];
    let toolbox = Toolbox::new(dir, &names);
    let files = [
        "thin", "mirror0", "mirror1", "raid0", "raid1", "cache", "snap", "nested",
    ];
    let disks = files.map(|name| empty(dir, name, 48));
    toolbox.make(&disks.each_ref().map(|disk| disk.as_path()), LVM);
    let [thin, mirror0, mirror1, raid0, raid1, cache, snap, nested] = &disks;
    let before: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
    let mut cases = Cases::default();
    for (name, image, others) in [
        ("thin", thin, vec![]),
        ("mirror", mirror0, vec![mirror1.as_path()]),
        ("raid", raid1, vec![raid0]),
        ("cache", cache, vec![]),
        ("inner", nested, vec![]),
    ] {
        cases.case(name, || {
            let done = hostname("", image, &others);
            assert_eq!((done.code(), &*done.stdout), (Some(0), name), "{done:?}");
            assert_eq!(done.stderr, "");
        });
    }
    cases.case("a snapshot and its origin", || {
        let [now, then] = ["/dev/mapper/snap-root", "/dev/mapper/snap-before--upgrade"]
            .map(|root| hostname(root, snap, &[]));
        assert_eq!(now.stdout, "changed\n", "{now:?}");
        assert_eq!(then.stdout, "snap", "{then:?}");
    });
    cases.case("half a mirror is shown and named", || {
        let said = "is degraded: 1 of its 2 physical volumes are missing";
        for half in [mirror0, raid1] {
            let (done, report) = inspect(half, &[]);
            assert_eq!(done.code(), Some(1), "{done:?}");
            assert_eq!(warnings(&report), ["degraded -"], "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
            assert_eq!(report["systems"].as_array().unwrap().len(), 1, "{done:?}");
            let read = hostname("", half, &[]);
            assert_eq!((read.code(), &*read.stderr), (Some(0), ""), "{read:?}");
            let measured = bivouac(&["df"], half.to_str().unwrap(), &[]);
            assert_eq!(measured.code(), Some(1), "{measured:?}");
            assert!(measured.stderr.contains(said), "{measured:?}");
        }
    });
    cases.case("the images are what they were", || {
        let after: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
        assert_eq!(after, before);
    });
}

/// Arrays that their system calls otherwise than their superblocks do.
const ARRAYS: &str = r#"
create() { name=$1; shift; mdadm --create "$name" --run --assume-clean "$@"; }
create /dev/md126 --metadata=1.2 --name=far:root --level=1 --raid-devices=2 "$1" "$2"
create /dev/md7 --metadata=1.2 --name=far:home --level=0 --raid-devices=2 "$3" "$4"
create /dev/md125 --metadata=0.90 --level=5 --raid-devices=3 "$5" "$6" "$7"
mkdir -p /trees/arrays/etc/mdadm /trees/arrays/home /trees/arrays/srv /trees/home /trees/srv
{
    echo "DEVICE partitions"
    mdadm --detail --brief /dev/md126 | { read -r a b rest; echo "ARRAY /dev/md0 $rest"; }
    mdadm --detail --brief /dev/md125 | { read -r a b rest; echo "ARRAY /dev/md/5 $rest"; }
} >/trees/arrays/etc/mdadm/mdadm.conf
cat /trees/arrays/etc/mdadm/mdadm.conf
{
    echo "/dev/md0 / ext4 defaults 0 1"
    echo "/dev/md/home /home ext4 defaults 0 2"
    echo "/dev/md5 /srv ext4 defaults 0 2"
} >/trees/arrays/etc/fstab
echo users >/trees/home/file
echo srv >/trees/srv/file
tree arrays /dev/md126
tree home /dev/md7
tree srv /dev/md125
sync
mdadm --stop /dev/md126 /dev/md7 /dev/md125
"#;

#[test]
fn arrays_have_the_names_of_mdadm_conf_and_what_they_lack_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let toolbox = Toolbox::new(dir, &["arrays"]);
    let disks = ["a", "b", "c", "d", "e", "f", "g"].map(|name| empty(dir, name, 24));
    let [first, others @ ..] = disks.each_ref().map(|disk| disk.as_path());
    toolbox.make(&disks.each_ref().map(|disk| disk.as_path()), ARRAYS);
    let mut cases = Cases::default();
    cases.case("each is mounted where fstab says", || {
        let (done, report) = inspect(first, &others);
        assert_eq!(done.code(), Some(0), "{done:?}");
        let mounts = report["systems"][0]["mounts"].as_array().unwrap().iter();
        let targets: Vec<_> = mounts.map(|mount| mount["target"].clone()).collect();
        assert_eq!(targets, ["/", "/home", "/srv"], "{done:?}");
        let image = first.display();
        let places = [format!("{image}:/home/file"), format!("{image}:/srv/file")];
        let done = bivouac(&["cat", &places[0]], &places[1], &others);
        assert_eq!(done.stdout, "users\nsrv\n", "{done:?}");
    });
    // One of two mirrors, one of two stripes, two of three with parity.
    let some = [others[1], others[3], others[4]];
    cases.case("what arrays lack is named", || {
        let (done, report) = inspect(first, &some);
        assert_eq!(done.code(), Some(1), "{done:?}");
        assert_eq!(
            warnings(&report),
            [
                "degraded /dev/md127",
                "volume /dev/md/home",
                "degraded /dev/md125",
                "mount /dev/md127"
            ],
            "{done:?}"
        );
        let reasons = report["warnings"].to_string();
        assert!(
            reasons.contains("degraded: 1 of its 2 devices are missing"),
            "{reasons}"
        );
        assert!(
            reasons.contains("degraded: 1 of its 3 devices are missing"),
            "{reasons}"
        );
        // What is on the array that cannot be assembled is missing, the rest is there.
        let image = first.display();
        let done = bivouac(&["cat"], &format!("{image}:/srv/file"), &some);
        assert_eq!((done.code(), &*done.stdout), (Some(0), "srv\n"), "{done:?}");
        let done = bivouac(&["ls", "-R"], &format!("{image}:/"), &some);
        assert_eq!(done.code(), Some(1), "{done:?}");
        assert!(
            done.stderr.contains("not mounted: /dev/md/home on /home"),
            "{done:?}"
        );
    });
}
