//! What the first sectors of a disk say about its boot: code for the BIOS, an EFI system partition, both
//! or neither. Pure. Facts are from the UEFI specification (chapters 5 and 13) and the El Torito
//! specification.

use std::io;

use super::formats::ReadAt;
use crate::linux::bytes::Fields;

/// What a disk can be booted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootSectors {
    /// There is code that the BIOS starts.
    pub bios: bool,
    /// There is a partition, or a boot image of a CD-ROM, for UEFI.
    pub uefi: bool,
    /// The BIOS takes the first sector for code, though it holds none.
    pub is_empty_code: bool,
}

const SECTOR: u64 = 512;

/// The type of an EFI system partition in an MBR.
const ESP: u8 = 0xef;
/// The type of an EFI system partition in a GPT: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const ESP_GUID: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// The most bytes that are read of a GPT's entries: 128 of 128 bytes each.
const ENTRIES_MAX: u64 = 128 * 128;

/// The start of the code that parted puts into each new MBR: it only starts the active partition.
const PARTED: &[u8] = b"\xfa\xb8\x00\x10\x8e\xd0\xbc\x00\xb0";

/// What mkfs.fat puts into a boot sector: code that only prints this.
const MKFS_FAT: &[u8] = b"This is not a bootable disk";

/// Reads the boot sectors of a disk of `size` bytes.
pub fn of_disk(disk: &(impl ReadAt + ?Sized), size: u64) -> io::Result<BootSectors> {
    let mut sector = [0; SECTOR as usize];
    disk.read_exact_at(&mut sector, 0)?;
    let sector = &sector[..];
    let is_signed = sector.has(510, &[0x55, 0xaa]);
    // A filesystem without a partition table, which UEFI can boot, too.
    let is_fat = is_signed && (sector.has(0x36, b"FAT1") || sector.has(0x52, b"FAT32"));
    let records = || (446..510).step_by(16).filter(|_| is_signed && !is_fat);
    let has_code = match sector {
        _ if is_fat => !sector.windows(MKFS_FAT.len()).any(|part| part == MKFS_FAT),
        _ if sector.starts_with(PARTED) => records().any(|at| sector[at] == 0x80),
        _ => sector[..440].iter().any(|byte| *byte != 0),
    };
    let bios = is_signed && has_code;
    let in_mbr = records().any(|at| sector[at + 4] == ESP);
    Ok(BootSectors {
        bios,
        // All of the GPT need not be read where it makes no difference.
        uefi: is_fat || in_mbr || !bios && has_esp_in_gpt(disk, size)?,
        is_empty_code: is_signed && !has_code && !is_fat,
    })
}

fn has_esp_in_gpt(disk: &(impl ReadAt + ?Sized), size: u64) -> io::Result<bool> {
    // A backup header is in the last sector.
    let last = size.saturating_sub(SECTOR) / SECTOR * SECTOR;
    for at in [SECTOR, last] {
        let mut header = [0; 92];
        disk.read_exact_at(&mut header, at)?;
        let header = &header[..];
        let (first, count, length) = (header.le64(72), header.le32(80), header.le32(84));
        if !header.has(0, b"EFI PART") || !(128..=4096).contains(&length) {
            continue;
        }
        let bytes = (u64::from(count) * u64::from(length)).min(ENTRIES_MAX);
        let mut entries = vec![0; bytes as usize];
        disk.read_exact_at(&mut entries, first.saturating_mul(SECTOR))?;
        let mut entries = entries.chunks(length as usize);
        return Ok(entries.any(|entry| entry.starts_with(&ESP_GUID)));
    }
    Ok(false)
}

/// A sector of a CD-ROM.
const BLOCK: usize = 2048;
/// The block of the boot record (El Torito, "Boot Record Volume Descriptor").
const BOOT_RECORD: u64 = 17;
const PLATFORM_EFI: u8 = 0xef;

/// Reads the boot catalog of an ISO 9660 image, which lists a boot image for each sort of firmware.
pub fn of_cdrom(disc: &(impl ReadAt + ?Sized)) -> io::Result<BootSectors> {
    let mut found = BootSectors::default();
    let mut block = [0; BLOCK];
    disc.read_exact_at(&mut block, BOOT_RECORD * BLOCK as u64)?;
    if !block.has(0, b"\0CD001\x01EL TORITO SPECIFICATION") {
        return Ok(found);
    }
    let catalog = u64::from(block.le32(0x47)) * BLOCK as u64;
    disc.read_exact_at(&mut block, catalog)?;
    // The first entry names the platform of the second. Sections follow, each with a header.
    let mut platform = block[1];
    for entry in block.chunks(32).skip(1) {
        match entry[0] {
            0x90 | 0x91 => platform = entry[1],
            0x88 if platform == PLATFORM_EFI => found.uefi = true,
            0x88 if platform == 0 => found.bios = true,
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of 1 MiB with this code and these types of partitions in its first sector.
    fn mbr(code: &[u8], kinds: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        disk[..code.len()].copy_from_slice(code);
        for (at, kind) in (446..).step_by(16).zip(kinds) {
            disk[at + 4] = *kind;
        }
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk
    }

    /// Puts a GPT whose second entry is an EFI system partition into a disk. Its header is in the
    /// sector `header`.
    fn put_gpt(disk: &mut [u8], header: usize, entries: usize) {
        let at = header * 512;
        disk[at..at + 8].copy_from_slice(b"EFI PART");
        disk[at + 72..at + 80].copy_from_slice(&(entries as u64).to_le_bytes());
        disk[at + 80..at + 84].copy_from_slice(&128_u32.to_le_bytes());
        disk[at + 84..at + 88].copy_from_slice(&128_u32.to_le_bytes());
        let entry = entries * 512 + 128;
        disk[entry..entry + 16].copy_from_slice(&ESP_GUID);
    }

    fn of(disk: &[u8]) -> (bool, bool, bool) {
        let found = of_disk(disk, disk.len() as u64).unwrap();
        (found.bios, found.uefi, found.is_empty_code)
    }

    #[test]
    fn code_and_an_efi_system_partition_are_found_each_without_the_other() {
        assert_eq!(of(&[0; 4096]), (false, false, false));
        assert_eq!(of(&mbr(&[0xeb], &[0x83])), (true, false, false));
        assert_eq!(of(&mbr(&[0xeb], &[0x83, ESP])), (true, true, false));
        assert_eq!(of(&mbr(&[], &[0x83, ESP])), (false, true, true));
        assert_eq!(of(&mbr(&[], &[0x83])), (false, false, true));
        let unsigned = &mut mbr(&[0xeb], &[ESP]);
        unsigned[510] = 0;
        assert_eq!(of(unsigned), (false, false, false));
    }

    #[test]
    fn a_gpt_is_found_by_either_header() {
        let mut disk = mbr(&[], &[0xee]);
        put_gpt(&mut disk, 1, 2);
        assert_eq!(of(&disk), (false, true, true));
        let mut disk = mbr(&[], &[0xee]);
        let last = disk.len() / 512 - 1;
        put_gpt(&mut disk, last, last - 32);
        assert_eq!(of(&disk), (false, true, true));
    }

    #[test]
    fn code_that_boots_nothing_does_not_count() {
        assert_eq!(of(&mbr(PARTED, &[ESP])), (false, true, true));
        let mut active = mbr(PARTED, &[0x83]);
        active[446] = 0x80;
        assert_eq!(of(&active), (true, false, false));
        let mut fat = mbr(b"\xeb\x3c\x90mkfs.fat", &[]);
        fat[0x36..0x3b].copy_from_slice(b"FAT16");
        assert_eq!(of(&fat), (true, true, false));
        fat[0x5b..0x5b + MKFS_FAT.len()].copy_from_slice(MKFS_FAT);
        assert_eq!(of(&fat), (false, true, false));
    }

    #[test]
    fn a_boot_catalog_has_an_entry_for_each_sort_of_firmware() {
        let disc = |first: u8, second: Option<u8>| {
            let mut disc = vec![0; 20 * BLOCK];
            let record = b"\0CD001\x01EL TORITO SPECIFICATION";
            disc[17 * BLOCK..][..record.len()].copy_from_slice(record);
            disc[17 * BLOCK + 0x47] = 19;
            let catalog = &mut disc[19 * BLOCK..];
            (catalog[0], catalog[1], catalog[32]) = (1, first, 0x88);
            if let Some(second) = second {
                (catalog[64], catalog[65], catalog[96]) = (0x91, second, 0x88);
            }
            let found = of_cdrom(&disc[..]).unwrap();
            (found.bios, found.uefi)
        };
        assert_eq!(disc(0, None), (true, false));
        assert_eq!(disc(0, Some(PLATFORM_EFI)), (true, true));
        assert_eq!(disc(PLATFORM_EFI, None), (false, true));
        let none = of_cdrom(&[0; 20 * BLOCK][..]).unwrap();
        assert_eq!(none, BootSectors::default());
    }
}
