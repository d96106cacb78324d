//! The kernel as the appliance boots it: unpacked by the host if possible, because that takes the
//! host half a second and an emulated guest several. QEMU boots an unpacked kernel by its PVH entry
//! (CONFIG_PVH, which distributions' kernels have; hw/i386/x86.c in QEMU).

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;

use crate::linux::bytes::Fields;
use crate::linux::elf;

/// The largest kernel, unpacked or not, in bytes. Those of distributions have 50 to 90 million.
pub(super) const LARGEST: u64 = 512 << 20;
/// Offsets of fields in a bzImage (Documentation/arch/x86/boot.rst).
const SETUP_SECTORS_AT: usize = 0x1f1;
const MAGIC_AT: usize = 0x202;
const PAYLOAD_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;

/// The longest notes that are searched, in bytes. Kernels have a few hundred.
const LONGEST_NOTES: u64 = 1 << 20;

/// Writes the unpacked kernel in `image` to an empty file, or `image` as it is: if it has no PVH entry, or is compressed
/// other than by gzip, xz or zstd, QEMU must boot that.
pub fn write(image: &[u8], mut to: &File) -> io::Result<()> {
    if payload(image).is_some_and(|payload| unpack(payload, to)) && is_startable(to) {
        return Ok(());
    }
    to.set_len(0)?;
    to.rewind()?;
    to.write_all(image)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    if !image.has(MAGIC_AT, b"HdrS") {
        return None;
    }
    let field = |at: usize| Some(image.get_le32(at)? as usize);
    // Old kernels have 0, which means 4.
    let sectors = match *image.get(SETUP_SECTORS_AT)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let at = (sectors + 1) * 512 + field(PAYLOAD_AT)?;
    image.get(at..)?.get(..field(PAYLOAD_LENGTH_AT)?)
}

/// Whether a payload was unpacked as a whole. It ends with its unpacked size: the kernel's build appends it, and
/// gzip has its own.
fn unpack(payload: &[u8], mut to: &File) -> bool {
    let Some((packed, size)) = payload.split_last_chunk::<4>() else {
        return false;
    };
    let size = u64::from(u32::from_le_bytes(*size));
    let mut write = |from: &mut dyn Read| {
        let written = io::copy(&mut from.take(size), &mut to);
        written.is_ok_and(|written| written == size)
    };
    match payload {
        _ if size > LARGEST => false,
        [0x1f, 0x8b, ..] => write(&mut flate2::read::GzDecoder::new(payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            write(&mut lzma_rust2::XzReader::new(packed, false))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ruzstd::decoding::StreamingDecoder::new(packed)
            .is_ok_and(|mut decoder| write(&mut decoder)),
        _ => false,
    }
}

/// Whether this is an ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY: type 18, then the owner's
/// name `Xen`.
fn is_startable(kernel: &File) -> bool {
    const TYPE_AND_NAME: &[u8] = b"\x12\0\0\0Xen\0";
    let part = |at, length| {
        let mut bytes = vec![0; length];
        kernel.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    let table = || {
        let header = elf::Header::of(&part(0, elf::HEADER_LENGTH)?)?;
        part(header.table_at, header.table_length)
    };
    elf::segments(&table().unwrap_or_default()).any(|segment| {
        let is_note = segment.kind == elf::PT_NOTE && segment.size <= LONGEST_NOTES;
        let notes = is_note.then(|| part(segment.offset, segment.size as usize));
        let notes = notes.flatten().unwrap_or_default();
        let mut windows = notes.windows(TYPE_AND_NAME.len()).step_by(4);
        windows.any(|window| window == TYPE_AND_NAME)
    })
}
