//! Signatures of what no tool at hand makes, written as its format says, against blkid.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bivouac::block::superblock;

use super::superblocks::blkid;
use super::tables::device;
use crate::env::filesystems::{MIB, empty};

const MIBI: i64 = MIB as i64;
const SIZE: u64 = 64;

/// A kind, as blkid calls it, and its bytes; a negative place counts from the end.
type Sample = (&'static str, &'static [(i64, &'static [u8])]);

const SAMPLES: &[Sample] = &[
    (
        "BitLocker",
        &[
            (0, b"\xeb\x58\x90-FVE-FS-"),
            (0xb0, b"\0\0\x20\0\0\0\0\0"),
            (2 * MIBI, b"-FVE-FS-\x40\0\x02\0"),
        ],
    ),
    (
        "hfsplus",
        &[(1024, b"H+\0\x04"), (1064, b"\0\0\x10\0\0\0\x40\0")],
    ),
    ("ReFS", &[(0, b"\0\0\0ReFS\0")]),
    ("VMFS_volume_member", &[(MIBI, b"\x0d\xd0\x01\xc0")]),
    ("VMFS", &[(2 * MIBI, b"\x5e\xf1\xab\x2f")]),
    (
        "ddf_raid_member",
        &[(
            -512,
            b"\xde\x11\xde\x11\0\0\0\0xxxxxxxxxxxxxxxxxxxxxxxx01.02.00",
        )],
    ),
    (
        "isw_raid_member",
        &[(-1024, b"Intel Raid ISM Cfg Sig. 1.0.00")],
    ),
    (
        "nvidia_raid_member",
        &[(-1024, b"NVIDIA  \x1e\0\0\0\0\0\0\0\x64\0")],
    ),
    (
        "promise_fasttrack_raid_member",
        &[(-63 * 512, b"Promise Technology, Inc.")],
    ),
    ("lsi_mega_raid_member", &[(-512, b"$XIDE$")]),
    ("hpt37x_raid_member", &[(9 * 512 + 32, b"\xf0\x16\x78\x5a")]),
    ("jmicron_raid_member", &[(-512, b"JM")]),
    ("drbd", &[(-4096 + 60, b"\x83\x74\x02\x6b")]),
    ("DM_snapshot_cow", &[(0, b"SnAp")]),
    ("ceph_bluestore", &[(0, b"bluestore block device\n")]),
    ("vdo", &[(0, b"dmvdo001")]),
    ("ubi", &[(0, b"UBI#\x01")]),
    ("DM_integrity", &[(0, b"integrt\0\x01")]),
    ("LVM1_member", &[(0, b"HM\x01\0")]),
    ("oracleasm", &[(32, b"ORCLDISKVOL1")]),
    (
        "hpfs",
        &[
            (8192, b"\x49\xe8\x95\xf9\xc5\xe9\x53\xfa"),
            (8704, b"\x49\x18\x91\xf9"),
        ],
    ),
    ("vxfs", &[(1024, b"\xf5\xfc\x01\xa5")]),
    ("zonefs", &[(0, b"SFOZ")]),
    ("nss", &[(4096, b"SPB5")]),
    ("sysv", &[(512 + 504, b"\x20\x7e\x18\xfd")]),
    ("swsuspend", &[(4096 - 10, b"S1SUSPEND")]),
    ("swsuspend", &[(4096 - 10, b"S2SUSPEND")]),
    ("swsuspend", &[(4096 - 10, b"ULSUSPEND")]),
    ("swsuspend", &[(4096 - 10, b"LINHIB0001")]),
];

/// What blkid calls a kind of ours.
fn is_same(kind: &str, of_blkid: &str) -> bool {
    match kind {
        "fwraid" => of_blkid.ends_with("_raid_member"),
        "vmfs_volume" => of_blkid == "VMFS_volume_member",
        "snapshot_cow" => of_blkid == "DM_snapshot_cow",
        "integrity" => of_blkid == "DM_integrity",
        "bluestore" => of_blkid == "ceph_bluestore",
        "lvm1" => of_blkid == "LVM1_member",
        kind => kind.eq_ignore_ascii_case(of_blkid),
    }
}

#[test]
fn what_no_tool_makes_is_named_as_blkid_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, parts) in SAMPLES {
        let path = empty(dir.path(), "sample", SIZE);
        let file = File::options().write(true).open(&path).unwrap();
        for (at, bytes) in *parts {
            let at = if *at < 0 {
                SIZE as i64 * MIBI + at
            } else {
                *at
            };
            file.write_all_at(bytes, at as u64).unwrap();
        }
        let of_blkid = blkid(&path, "TYPE");
        let found = superblock::probe(&device(&path)).map(|found| found.kind.name());
        let agrees = of_blkid.as_deref() == Some(*name) && is_same(found.unwrap_or("-"), name);
        if !agrees {
            wrong.push(format!("{name}: {found:?}, and blkid says {of_blkid:?}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_pool_of_zfs_is_known_by_its_uberblocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = empty(dir.path(), "pool", SIZE);
    let file = File::options().write(true).open(&path).unwrap();
    let mut uberblock = Vec::new();
    for number in [0x00ba_b10c_u64, 5000, 10, 1, 1] {
        uberblock.extend(number.to_le_bytes());
    }
    for label in [0, MIB / 4, SIZE * MIB - MIB / 2, SIZE * MIB - MIB / 4] {
        for index in 0..128 {
            let at = label + (128 + index) * 1024;
            file.write_all_at(&uberblock, at).unwrap();
        }
    }
    assert_eq!(blkid(&path, "TYPE").as_deref(), Some("zfs_member"));
    let found = superblock::probe(&device(&path)).unwrap();
    assert_eq!(found.kind.name(), "zfs");
}
