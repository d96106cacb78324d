//! The kernel as the appliance boots it: unpacked by the host if possible, because that takes the
//! host half a second and an emulated guest several. QEMU boots an unpacked kernel by its PVH entry
//! (CONFIG_PVH, which distributions' kernels have; hw/i386/x86.c in QEMU).

use std::fs::File;
use std::io::{self, Read};

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
    if !image.get(MAGIC_AT..)?.starts_with(b"HdrS") {
        return None;
    }
    let field = |at: usize| {
        let bytes = image.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    };
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
    const NOTE: u32 = 4;
    let field = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |field| u64::from_le_bytes(*field))
    };
    if !kernel.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let count = field(kernel, 56) & 0xffff;
    let table = usize::try_from(field(kernel, 32)).ok();
    let table = table.and_then(|at| kernel.get(at..)).unwrap_or_default();
    table.chunks_exact(56).take(count as usize).any(|header| {
        let (at, size) = (field(header, 8) as usize, field(header, 32) as usize);
        let notes = kernel.get(at..).and_then(|notes| notes.get(..size));
        field(header, 0) as u32 == NOTE
            && notes.is_some_and(|notes| {
                let windows = notes.windows(TYPE_AND_NAME.len());
                windows.step_by(4).any(|window| window == TYPE_AND_NAME)
            })
    })
}
