//! The less common contents of a block device, as a table: where each has its magic bytes, its
//! UUID and its label. Most of them no kernel mounts; they are named all the same, so that a disk
//! that is full never looks blank.
//!
//! Places are those of the formats' own specifications, and agree with util-linux's libblkid.

use super::device_reader::ReadAt;
use super::ids::{lossy, uuid};
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Content, Kind};

/// One way to recognise a kind. Places are in bytes; a negative one counts from the end of the
/// device.
struct Signature {
    kind: Kind,
    /// Where its superblock is.
    at: i64,
    /// The magic bytes, from the superblock on.
    magic: (usize, &'static [u8]),
    /// More of them, if those are few.
    also: (usize, &'static [u8]),
    /// The UUID of 16 bytes, from the superblock on.
    uuid: Option<usize>,
    /// The label's place and length, from the superblock on.
    label: Option<(usize, usize)>,
}

const fn named(kind: Kind, at: i64, magic: (usize, &'static [u8])) -> Signature {
    Signature {
        kind,
        at,
        magic,
        also: (0, b""),
        uuid: None,
        label: None,
    }
}

impl Signature {
    const fn also(mut self, at: usize, bytes: &'static [u8]) -> Self {
        self.also = (at, bytes);
        self
    }

    const fn uuid(mut self, at: usize) -> Self {
        self.uuid = Some(at);
        self
    }

    const fn label(mut self, at: usize, length: usize) -> Self {
        self.label = Some((at, length));
        self
    }

    /// How much of the superblock is needed.
    fn length(&self) -> usize {
        let magic = self.magic.0 + self.magic.1.len();
        let label = self.label.map_or(0, |(at, length)| at + length);
        let also = self.also.0 + self.also.1.len();
        magic
            .max(also)
            .max(label)
            .max(self.uuid.map_or(0, |at| at + 16))
    }

    fn find(&self, device: &dyn ReadAt) -> Option<Content> {
        let at = match u64::try_from(self.at) {
            Ok(at) => at,
            // In whole sectors from the end.
            Err(_) => (device.size() & !511).checked_sub(self.at.unsigned_abs())?,
        };
        let (place, magic) = self.magic;
        let start = at.checked_add(place as u64)?;
        (device.bytes_at(start, magic.len()) == magic).then_some(())?;
        let block = &device.bytes_at(at, self.length())[..];
        block.has(self.also.0, self.also.1).then_some(())?;
        let label = self.label.map(|(at, length)| lossy(block.part(at, length)));
        Some(Content {
            kind: self.kind,
            uuid: self.uuid.and_then(|at| uuid(block.part(at, 16))),
            label: label.filter(|label| !label.is_empty()),
            usage: None,
        })
    }
}

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;

/// What holds other things: asked before any file system that may show through.
const MEMBERS: &[Signature] = &[
    // The Volume ID of BitLocker, and that of BitLocker To Go behind a FAT boot sector.
    named(Kind::Bitlocker, 0, (3, b"-FVE-FS-")),
    named(
        Kind::Bitlocker,
        0,
        (
            424,
            b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01",
        ),
    ),
    named(Kind::Verity, 0, (0, b"verity\0\0")).uuid(16),
    named(Kind::Integrity, 0, (0, b"integrt\0")),
    named(
        Kind::Bcache,
        4 * KIB,
        (
            24,
            b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        ),
    )
    .uuid(40),
    named(Kind::Stratis, 512, (4, b"!Stra0tis\x86\xff\x02^\x41rh")),
    named(Kind::Vdo, 0, (0, b"dmvdo001")),
    named(Kind::Bluestore, 0, (0, b"bluestore block device")),
    named(Kind::Lvm1, 0, (0, b"HM\x01\0")),
    named(Kind::Lvm1, 0, (0, b"HM\x02\0")),
    named(Kind::SnapshotCow, 0, (0, b"SnAp")),
    named(Kind::Drbd, -4 * KIB, (60, b"\x83\x74\x02\x67")),
    named(Kind::Drbd, -4 * KIB, (60, b"\x83\x74\x02\x68")),
    named(Kind::Drbd, -4 * KIB, (60, b"\x83\x74\x02\x6b")),
    named(Kind::OracleAsm, 32, (0, b"ORCLDISK")).label(8, 24),
    named(Kind::VmfsMember, MIB, (0, b"\x0d\xd0\x01\xc0")),
    // Firmware RAID: Intel, SNIA DDF, LSI MegaRAID, NVIDIA, Promise, Adaptec, HighPoint, JMicron.
    named(Kind::FirmwareRaid, -1024, (0, b"Intel Raid ISM Cfg Sig. ")),
    named(Kind::FirmwareRaid, -512, (0, b"\xde\x11\xde\x11")),
    named(Kind::FirmwareRaid, -257 * 512, (0, b"\xde\x11\xde\x11")),
    named(Kind::FirmwareRaid, -512, (0, b"$XIDE$")),
    named(Kind::FirmwareRaid, -1024, (0, b"NVIDIA")),
    named(
        Kind::FirmwareRaid,
        -63 * 512,
        (0, b"Promise Technology, Inc."),
    ),
    named(
        Kind::FirmwareRaid,
        -255 * 512,
        (0, b"Promise Technology, Inc."),
    ),
    named(
        Kind::FirmwareRaid,
        -256 * 512,
        (0, b"Promise Technology, Inc."),
    ),
    named(Kind::FirmwareRaid, -512, (16, b"DPTM")),
    named(Kind::FirmwareRaid, 9 * 512, (32, b"\xf0\x16\x78\x5a")),
    named(Kind::FirmwareRaid, -11 * 512, (0, b"\xf3\x16\x78\x5a")),
    named(Kind::FirmwareRaid, -512, (0, b"JM\0\0")),
];

/// File systems, and what is like one.
const OTHERS: &[Signature] = &[
    named(Kind::Jfs, 32 * KIB, (0, b"JFS1"))
        .uuid(136)
        .label(152, 16),
    named(Kind::Nilfs2, KIB, (6, b"\x34\x34"))
        .also(0, b"\x02\0\0\0")
        .uuid(152)
        .label(168, 80),
    named(Kind::Reiserfs, 64 * KIB, (52, b"ReIsErFs"))
        .uuid(84)
        .label(100, 16),
    named(Kind::Reiserfs, 64 * KIB, (52, b"ReIsEr2Fs"))
        .uuid(84)
        .label(100, 16),
    named(Kind::Reiserfs, 64 * KIB, (52, b"ReIsEr3Fs"))
        .uuid(84)
        .label(100, 16),
    named(Kind::Reiserfs, 8 * KIB, (52, b"ReIsErFs")),
    named(Kind::Reiser4, 64 * KIB, (0, b"ReIsEr4"))
        .uuid(20)
        .label(36, 16),
    named(Kind::Apfs, 0, (32, b"NXSB")).uuid(72),
    named(
        Kind::Bcachefs,
        4 * KIB,
        (
            24,
            b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        ),
    )
    .uuid(56)
    .label(72, 32),
    named(Kind::Refs, 0, (3, b"ReFS\0\0\0\0")),
    named(Kind::Vmfs, 2 * MIB, (0, b"\x5e\xf1\xab\x2f")),
    named(Kind::Ocfs2, 2 * KIB, (0, b"OCFSV2"))
        .label(272, 64)
        .uuid(336),
    named(Kind::Ocfs2, 4 * KIB, (0, b"OCFSV2"))
        .label(272, 64)
        .uuid(336),
    named(Kind::Gfs2, 64 * KIB, (0, b"\x01\x16\x19\x70\0\0\0\x01"))
        .uuid(256)
        .label(96 + 64, 64),
    named(Kind::Cramfs, 0, (0, b"\x45\x3d\xcd\x28")).label(48, 16),
    named(Kind::Romfs, 0, (0, b"-rom1fs-")).label(16, 16),
    named(Kind::Bfs, 0, (0, b"\xce\xfa\xad\x1b")),
    named(Kind::Befs, 512, (32, b"1SFB")).label(0, 32),
    named(Kind::Hpfs, 8 * KIB, (0, b"\x49\xe8\x95\xf9")),
    named(Kind::Vxfs, KIB, (0, b"\xf5\xfc\x01\xa5")),
    named(Kind::Ubi, 0, (0, b"UBI#")),
    named(Kind::Ubifs, 0, (0, b"\x31\x18\x10\x06")).uuid(108),
    named(Kind::Zonefs, 0, (0, b"SFOZ")),
    named(Kind::Nss, 4 * KIB, (0, b"SPB5")),
    // Of the Amiga, without and with the fast and international variants.
    named(Kind::Affs, 0, (0, b"DOS\0")),
    named(Kind::Affs, 0, (0, b"DOS\x01")),
    named(Kind::Affs, 0, (0, b"DOS\x02")),
    named(Kind::Affs, 0, (0, b"DOS\x03")),
    // Of IRIX; its second version too.
    named(Kind::Efs, 512, (28, b"\0\x07\x29\x59")),
    named(Kind::Efs, 512, (28, b"\0\x07\x29\x5a")),
    named(Kind::Qnx6, 8 * KIB, (0, b"\x22\x11\x19\x68")),
    // System V and Xenix, of either byte order.
    named(Kind::Sysv, 512, (504, b"\x20\x7e\x18\xfd")),
    named(Kind::Sysv, 512, (504, b"\xfd\x18\x7e\x20")),
    named(Kind::Sysv, KIB, (1016, b"\x44\x55\x2b\0")),
    named(Kind::Sysv, KIB, (1016, b"\0\x2b\x55\x44")),
];

/// Where the mark of a hibernated system is: at the end of a page of the machine that made it,
/// in place of swap's own.
const HIBERNATED: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB000"];

/// A content that holds others.
pub(super) fn member(device: &dyn ReadAt) -> Option<Content> {
    first(MEMBERS, device).or_else(|| zfs(device))
}

/// Any other content.
pub(super) fn other(device: &dyn ReadAt) -> Option<Content> {
    hibernated(device)
        .or_else(|| first(OTHERS, device))
        .or_else(|| ufs(device))
        .or_else(|| minix(device))
}

fn first(signatures: &[Signature], device: &dyn ReadAt) -> Option<Content> {
    signatures.iter().find_map(|one| one.find(device))
}

fn hibernated(device: &dyn ReadAt) -> Option<Content> {
    let pages: [u64; 4] = [4096, 8192, 16384, 65536];
    let mut marks = pages.iter().map(|page| device.bytes_at(page - 10, 9));
    marks
        .any(|mark| HIBERNATED.contains(&&mark[..]))
        .then_some(())?;
    let head = &device.bytes_at(1024, 64)[..];
    let label = lossy(head.part(28, 16));
    Some(Content {
        kind: Kind::Swsuspend,
        uuid: uuid(head.part(12, 16)),
        label: (!label.is_empty()).then_some(label),
        usage: None,
    })
}

/// A ZFS pool writes its current uberblock into one of 128 places of each of four labels; some of
/// them are there in any pool that was ever used.
fn zfs(device: &dyn ReadAt) -> Option<Content> {
    const LABEL: u64 = 256 * 1024;
    const MAGIC: u64 = 0x00ba_b10c;
    let end = device.size() & !(LABEL - 1);
    let labels = [Some(0), Some(LABEL), end.checked_sub(LABEL)];
    let mut found = 0;
    for label in labels.into_iter().flatten() {
        let ring = device.bytes_at(label.saturating_add(128 * 1024), 128 * 1024);
        let is_one = |block: &[u8]| [MAGIC, MAGIC.swap_bytes()].contains(&block.le64(0));
        found += ring
            .chunks_exact(1024)
            .filter(|block| is_one(block))
            .count();
        // libblkid wants four as well: one alone may be data.
        if found >= 4 {
            return Some(Content {
                kind: Kind::Zfs,
                uuid: None,
                label: None,
                usage: None,
            });
        }
    }
    None
}

/// UFS, version 1 and 2, of either byte order.
fn ufs(device: &dyn ReadAt) -> Option<Content> {
    const MAGIC: usize = 1372;
    const MAGICS: [u32; 5] = [
        0x0001_1954,
        0x1954_0119,
        0x0009_5014,
        0x0019_5612,
        0x0523_1994,
    ];
    for at in [8192, 65536, 0, 262_144] {
        let block = &device.bytes_at(at, 1376)[..];
        let (little, big) = (block.le32(MAGIC), block.be32(MAGIC));
        if !MAGICS.contains(&little) && !MAGICS.contains(&big) {
            continue;
        }
        let is_big = MAGICS.contains(&big);
        let id = |at| {
            if is_big {
                block.be32(at)
            } else {
                block.le32(at)
            }
        };
        let (first, second) = (id(144), id(148));
        let is_second = [little, big].contains(&0x1954_0119);
        let label = is_second.then(|| lossy(block.part(680, 32)));
        return Some(Content {
            kind: Kind::Ufs,
            uuid: (first != 0 || second != 0).then(|| format!("{first:08x}{second:08x}")),
            label: label.filter(|label| !label.is_empty()),
            usage: None,
        });
    }
    None
}

/// Minix, whose magic number has two bytes only: the sizes must make sense, too.
fn minix(device: &dyn ReadAt) -> Option<Content> {
    let block = &device.bytes_at(1024, 64)[..];
    let second = [0x137f, 0x138f, 0x2468, 0x2478].contains(&block.le16(16));
    let third = block.le16(24) == 0x4d5a;
    let (maps, first, zone) = match (second, third) {
        (true, _) => (
            [block.le16(4), block.le16(6)],
            block.le16(8),
            block.le16(10),
        ),
        (_, true) => (
            [block.le16(6), block.le16(8)],
            block.le16(10),
            block.le16(12),
        ),
        _ => return None,
    };
    let is_sane =
        maps.iter().all(|blocks| *blocks > 0) && first > maps[0].saturating_add(1) && zone == 0;
    is_sane.then_some(Content {
        kind: Kind::Minix,
        uuid: None,
        label: None,
        usage: None,
    })
}
