//! Identifies what is on a block device by its superblock: the kind, and the UUID and label that
//! `UUID=` and `LABEL=` in an fstab refer to.
//!
//! Offsets and rules are those of util-linux's libblkid (libblkid/src/superblocks). Containers
//! (LUKS, LVM, MD) are tried before what they may contain.

use super::device_reader::ReadAt;
use super::ids::{lossy, utf16, uuid};
use super::{hfs, lvm, ntfs, raid, signatures, udf};
use crate::linux::bytes::Fields;
use crate::protocol::disks::{Content, Kind};

/// The start of the device that holds nearly all superblocks; the last is btrfs's, at 64 KiB.
const HEAD: usize = 72 * 1024;

/// Looks for one kind in the first bytes of a device.
type Probe = fn(&[u8]) -> Option<Content>;

/// Identifies the content of a device; `None` if it is unknown.
pub fn probe(device: &dyn ReadAt) -> Option<Content> {
    let head = &device.bytes_at(0, HEAD)[..];
    let filesystems: [Probe; 7] = [xfs, squashfs, ext, btrfs, f2fs, erofs, swap];
    luks(head)
        .or_else(|| physical_volume(head))
        .or_else(|| array_member(device))
        .or_else(|| signatures::member(device))
        .or_else(|| filesystems.iter().find_map(|probe| probe(head)))
        .or_else(|| ntfs::probe(device, head))
        .or_else(|| disc(device, head))
        .or_else(|| signatures::other(device))
        .or_else(|| hfs::probe(device))
        .or_else(|| exfat(device, head))
        .or_else(|| vfat(head))
}

fn content(kind: Kind, uuid: Option<String>, label: &[u8]) -> Option<Content> {
    let label = lossy(label);
    Some(Content {
        kind,
        uuid,
        label: (!label.is_empty()).then_some(label),
        usage: None,
    })
}

fn luks(head: &[u8]) -> Option<Content> {
    if !head.has(0, b"LUKS\xba\xbe") {
        return None;
    }
    let id = lossy(head.part(168, 40));
    // In version 1 this is the name of the cipher, not a label.
    let label = match head.part(6, 2) {
        [0, 2] => head.part(24, 48),
        _ => &[],
    };
    content(Kind::Luks, (!id.is_empty()).then_some(id), label)
}

fn physical_volume(head: &[u8]) -> Option<Content> {
    let id = lvm::label::identifier(lvm::label::find(head)?)?;
    content(Kind::Lvm, Some(id), &[])
}

fn array_member(device: &dyn ReadAt) -> Option<Content> {
    let member = raid::member(device)?;
    content(Kind::Md, uuid(&member.id), member.label.as_bytes())
}

fn xfs(head: &[u8]) -> Option<Content> {
    head.has(0, b"XFSB").then_some(())?;
    content(Kind::Xfs, uuid(head.part(32, 16)), head.part(108, 12))
}

fn squashfs(head: &[u8]) -> Option<Content> {
    // Current kernels mount version 4 only.
    (head.has(0, b"hsqs") && head.le16(28) == 4).then_some(())?;
    content(Kind::Squashfs, None, &[])
}

fn ext(head: &[u8]) -> Option<Content> {
    let block = head.part(1024, 1024);
    (block.le16(0x38) == 0xef53).then_some(())?;
    let (compatible, incompatible, read_only) =
        (block.le32(0x5c), block.le32(0x60), block.le32(0x64));
    // ext3 has filetype, recover, meta_bg; sparse_super, large_file, btree_dir.
    let kind = if incompatible & 0x8 != 0 {
        // An external journal.
        Kind::ExternalJournal
    } else if incompatible & !0x16 != 0 || read_only & !0x7 != 0 {
        Kind::Ext4
    } else if compatible & 0x4 != 0 {
        Kind::Ext3
    } else {
        Kind::Ext2
    };
    content(kind, uuid(block.part(0x68, 16)), block.part(0x78, 16))
}

fn btrfs(head: &[u8]) -> Option<Content> {
    let block = head.part(0x1_0000, 4096);
    block.has(0x40, b"_BHRfS_M").then_some(())?;
    let (id, label) = (block.part(0x20, 16), block.part(0x12b, 256));
    content(Kind::Btrfs, uuid(id), label)
}

fn f2fs(head: &[u8]) -> Option<Content> {
    let block = head.part(1024, 3072);
    (block.le32(0) == 0xf2f5_2010).then_some(())?;
    let label = utf16(block.part(0x7c, 1024));
    content(Kind::F2fs, uuid(block.part(0x6c, 16)), label.as_bytes())
}

fn erofs(head: &[u8]) -> Option<Content> {
    let block = head.part(1024, 128);
    (block.le32(0) == 0xe0f5_e1e2).then_some(())?;
    content(Kind::Erofs, uuid(block.part(48, 16)), block.part(64, 16))
}

fn swap(head: &[u8]) -> Option<Content> {
    // The signature ends the first page, whose size depends on the machine that made it.
    let marked = |page: usize| head.has(page - 10, b"SWAPSPACE2");
    let is_swap = [4096, 8192, 16384, 65536].into_iter().any(marked);
    is_swap.then_some(())?;
    content(Kind::Swap, uuid(head.part(1036, 16)), head.part(1052, 16))
}

/// ISO 9660 and UDF, of which a disc may have both: then ISO 9660 counts, which has the owners, modes
/// and links of Rock Ridge, unless all that it holds is a note.
fn disc(device: &dyn ReadAt, head: &[u8]) -> Option<Content> {
    let iso = iso9660(head);
    match iso.is_some() && !udf::only_announces(device) {
        true => iso,
        false => udf::probe(device).or(iso),
    }
}

fn iso9660(head: &[u8]) -> Option<Content> {
    let block = head.part(32768, 2048);
    (block.has(0, b"\x01CD001\x01")).then_some(())?;
    // `YYYYMMDDhhmmsscc`: the time of modification, else of creation.
    let date = [830, 813].into_iter().find_map(|at| {
        let digits = std::str::from_utf8(block.part(at, 16)).ok()?;
        let set = digits.bytes().all(|b| b.is_ascii_digit()) && digits.bytes().any(|b| b != b'0');
        let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16];
        let parts = parts.map(|part| digits.get(part).unwrap_or_default());
        set.then(|| parts.join("-"))
    });
    content(Kind::Iso9660, date, block.part(40, 32))
}

/// The label is an entry of the root directory; the other facts are in the boot sector.
fn exfat(device: &dyn ReadAt, head: &[u8]) -> Option<Content> {
    head.has(3, b"EXFAT   ").then_some(())?;
    let (sector, cluster) = (head.part(108, 1).first()?, head.part(109, 1).first()?);
    let root = u64::from(head.le32(96)).checked_sub(2)?;
    let place = (9..=12)
        .contains(sector)
        .then(|| {
            let shifted = root.checked_shl(u32::from(*cluster))?;
            let sectors = shifted.checked_add(u64::from(head.le32(88)))?;
            sectors.checked_mul(1 << sector)
        })
        .flatten();
    let directory = place.map_or_else(Vec::new, |at| device.bytes_at(at, 4096));
    let entry = directory.chunks_exact(32).find(|entry| entry[0] == 0x83);
    let label = entry.map_or_else(String::new, |entry| {
        utf16(entry.part(2, 2 * usize::from(entry[1].min(11))))
    });
    content(Kind::Exfat, Some(serial(head.le32(100))), label.as_bytes())
}

/// FAT has no magic number of its own: the boot sector must be plausible.
fn vfat(head: &[u8]) -> Option<Content> {
    let sane = head.has(510, &[0x55, 0xaa])
        && matches!(head.le16(11), 512 | 1024 | 2048 | 4096)
        && head.part(13, 1).first()?.is_power_of_two()
        && head.le16(14) != 0
        && matches!(head.part(16, 1), [1 | 2])
        && matches!(head.part(21, 1), [0xf0 | 0xf8..]);
    sane.then_some(())?;
    // FAT32 has no fixed root directory, and the size of its FAT is elsewhere.
    let is_fat32 = head.le16(17) == 0 && head.le16(22) == 0;
    let extended = if is_fat32 { 66 } else { 38 };
    let (has_id, label) = match head.part(extended, 1) {
        [0x29] => (true, head.part(extended + 5, 11)),
        [0x28] => (true, &[][..]),
        _ => (false, &[][..]),
    };
    let id = has_id.then(|| serial(head.le32(extended + 1)));
    let label = if label == b"NO NAME    " { &[] } else { label };
    content(Kind::Vfat, id, label)
}

/// A serial number as udev writes it.
fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xffff)
}
