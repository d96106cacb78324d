//! The kernel as the appliance boots it: unpacked by the host if possible, because that takes the
//! host half a second and an emulated guest several. QEMU boots an unpacked kernel by its PVH entry
//! (CONFIG_PVH, which distributions' kernels have; hw/i386/x86.c in QEMU).

use std::fs::File;
use std::io::{self, Read};

use crate::linux::bytes::Fields;
use crate::linux::elf;

/// The largest unpacked kernel, in bytes. Those of distributions have 50 to 90 million.
const LARGEST: u64 = 512 << 20;
/// Offsets of fields in a bzImage (Documentation/arch/x86/boot.rst).
const SETUP_SECTORS_AT: usize = 0x1f1;
const MAGIC_AT: usize = 0x202;
const PAYLOAD_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;

/// The unpacked kernel in `image`. `None` if it has no PVH entry, or is compressed other than by
/// gzip, xz or zstd: QEMU must then boot `image` itself.
pub fn unpacked(mut image: &File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut image)?;
    image.take(LARGEST).read_to_end(&mut bytes)?;
    if is_startable(&bytes) {
        return Ok(Some(bytes));
    }
    let kernel = payload(&bytes).and_then(unpack);
    Ok(kernel.filter(|kernel| is_startable(kernel)))
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

/// The payload ends with its unpacked size: the kernel's build appends it, and gzip has its own.
fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    let (packed, size) = payload.split_last_chunk::<4>()?;
    let size = u64::from(u32::from_le_bytes(*size));
    if size > LARGEST {
        return None;
    }
    let mut kernel = Vec::with_capacity(size as usize);
    let read = match payload {
        [0x1f, 0x8b, ..] => read(flate2::read::GzDecoder::new(payload), size, &mut kernel),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            read(lzma_rust2::XzReader::new(packed, false), size, &mut kernel)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
            read(decoder, size, &mut kernel)
        }
        _ => None,
    };
    read.map(|()| kernel)
}

fn read(from: impl Read, size: u64, to: &mut Vec<u8>) -> Option<()> {
    let read = from.take(size).read_to_end(to).ok()?;
    (read as u64 == size).then_some(())
}

/// Whether this is an ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY: type 18, then the owner's
/// name `Xen`.
fn is_startable(kernel: &[u8]) -> bool {
    const TYPE_AND_NAME: &[u8] = b"\x12\0\0\0Xen\0";
    let head = kernel.part(0, elf::HEADER_LENGTH);
    let table = elf::Header::of(head).map(|header| {
        let at = usize::try_from(header.table_at).unwrap_or(usize::MAX);
        kernel.part(at, header.table_length)
    });
    elf::segments(table.unwrap_or_default()).any(|segment| {
        let notes = kernel.part(segment.offset as usize, segment.size as usize);
        let mut windows = notes.windows(TYPE_AND_NAME.len()).step_by(4);
        segment.kind == elf::PT_NOTE && windows.any(|window| window == TYPE_AND_NAME)
    })
}
