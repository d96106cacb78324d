//! MD arrays of each version of their metadata, which lies at the start or at the end of a disk or a
//! partition: each is found where it is, and nothing is taken for one that is none.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::empty;
use crate::env::residue::sha256;
use crate::env::toolbox::Toolbox;

/// Two disks for each, but four for the RAID 6.
const ARRAYS: &str = r#"
create() { name=$1; shift; mdadm --create "$name" --run --assume-clean "$@"; }
table() { echo "$2" | sfdisk -q --wipe never "$1"; }
create /dev/md10 --metadata=1.0 --level=1 --raid-devices=2 "$1" "$2"
tree end /dev/md10
create /dev/md11 --metadata=1.0 --level=1 --raid-devices=2 "$3" "$4"
table /dev/md11 "label: dos
start=1MiB"
tree parted /dev/md11p1
for disk in "$5" "$6"; do table "$disk" "label: dos
start=1MiB"; done
create /dev/md12 --metadata=1.0 --level=10 --raid-devices=2 "${5}1" "${6}1"
tree last /dev/md12
create /dev/md13 --metadata=1.1 --level=6 --raid-devices=4 "$7" "$8" "$9" "${10}"
tree start /dev/md13
create /dev/md14 --metadata=1.1 --level=0 --raid-devices=2 "${11}" "${12}"
tree stripes /dev/md14
for disk in "${13}" "${14}"; do table "$disk" "label: dos
start=1MiB"; done
create /dev/md15 --metadata=0.90 --level=1 --raid-devices=2 "${13}1" "${14}1"
tree old /dev/md15
create /dev/md16 --metadata=0.90 --level=1 --raid-devices=2 "${15}" "${16}"
table /dev/md16 "label: dos
start=1MiB"
tree oldparted /dev/md16p1
sync
mdadm --stop /dev/md10 /dev/md11 /dev/md12 /dev/md13 /dev/md14 /dev/md15 /dev/md16
"#;

/// The system of each array, and its disks.
const SYSTEMS: [(&str, std::ops::Range<usize>); 7] = [
    ("end", 0..2),
    ("parted", 2..4),
    ("last", 4..6),
    ("start", 6..10),
    ("stripes", 10..12),
    ("old", 12..14),
    ("oldparted", 14..16),
];

fn made(dir: &Path) -> Vec<PathBuf> {
    let disks: Vec<_> = (0..16)
        .map(|number| empty(dir, &format!("disk{number}"), 16))
        .collect();
    let toolbox = Toolbox::new(dir, &SYSTEMS.map(|(name, _)| name));
    let paths: Vec<_> = disks.iter().map(PathBuf::as_path).collect();
    toolbox.make(&paths, ARRAYS);
    disks
}

/// `bivouac inspect --json` of a machine with these disks: its status, and what it says.
fn inspected(disks: &[PathBuf]) -> (Option<i32>, Value) {
    let (first, others) = disks.split_first().unwrap();
    let mut bivouac = Bivouac::new().args(["inspect", "--json"]).arg(first);
    for other in others {
        bivouac = bivouac.arg("--disk").arg(other);
    }
    let done = bivouac.output();
    let report = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    (done.code(), report)
}

fn texts<'a>(report: &'a Value, list: &str, member: &str) -> Vec<&'a str> {
    let all = report[list].as_array().unwrap().iter();
    all.map(|one| one[member].as_str().unwrap_or("-")).collect()
}

#[test]
fn arrays_of_each_version_are_found_where_their_metadata_is() {
    let dir = tempfile::tempdir().unwrap();
    let disks = made(dir.path());
    let before: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
    let mut cases = Cases::default();
    cases.case("all of them in one machine", || {
        let (code, report) = inspected(&disks);
        let mut found = texts(&report, "systems", "id");
        found.sort_unstable();
        let mut wanted = SYSTEMS.map(|(name, _)| name);
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{report:#}");
        assert_eq!((code, &report["warnings"][0]), (Some(0), &Value::Null));
        // A disk whose partition is the member is none itself, and the other way round.
        let is_member = |disk: &Value| disk["content"]["type"] == "md";
        let members = report["disks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|disk| is_member(disk));
        assert_eq!(members.count(), 12, "{report:#}");
    });
    cases.case("the first member of each", || {
        let firsts: Vec<_> = SYSTEMS
            .map(|(_, disks_of)| disks[disks_of.start].clone())
            .into();
        let (code, report) = inspected(&firsts);
        let mut found = texts(&report, "systems", "id");
        found.sort_unstable();
        assert_eq!(
            found,
            ["end", "last", "old", "oldparted", "parted"],
            "{report:#}"
        );
        let mut warnings = texts(&report, "warnings", "code");
        warnings.sort_unstable();
        let wanted = [["degraded"; 5].as_slice(), &["volume"; 2]].concat();
        assert_eq!((code, warnings), (Some(1), wanted), "{report:#}");
    });
    cases.case("the images are what they were", || {
        let after: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
        assert_eq!(after, before);
    });
}
