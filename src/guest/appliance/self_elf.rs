//! This program as the appliance's `/init`, reduced to the part that the kernel maps. Symbols and
//! debug information are cut off, because an emulated guest would copy them slowly.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Offsets of fields in a 64-bit ELF header (elf(5)), and its size.
const HEADER: usize = 64;
const PROGRAM_HEADERS_AT: usize = 32;
const SECTION_HEADERS_AT: usize = 40;
const PROGRAM_HEADER_SIZE: usize = 54;
const PROGRAM_HEADER_COUNT: usize = 56;
const SECTION_COUNT: usize = 60;
const SECTION_NAMES: usize = 62;
/// The size of a program header.
const SEGMENT: usize = 56;
/// A segment that is mapped, and the name of the dynamic linker.
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;

/// The program of this process, even if its file was replaced since it started.
pub(super) fn own() -> io::Result<Vec<u8>> {
    mapped_part(&File::open("/proc/self/exe")?)
}

/// The part of a statically linked program that the kernel maps. InvalidData for any other
/// program: it would not run in the appliance, which has no libraries.
pub fn mapped_part(program: &File) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    program.read_exact_at(&mut header, 0)?;
    // Class 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(invalid("not an ELF program of 64 bits"));
    }
    let count = u16_at(&header, PROGRAM_HEADER_COUNT).unwrap_or_default();
    let table_at = u64_at(&header, PROGRAM_HEADERS_AT).unwrap_or_default();
    if u16_at(&header, PROGRAM_HEADER_SIZE) != Some(SEGMENT as u16) {
        return Err(invalid("its program headers are not of 56 bytes"));
    }
    let mut table = vec![0; usize::from(count) * SEGMENT];
    program.read_exact_at(&mut table, table_at)?;
    let mut end = table_at + table.len() as u64;
    for segment in table.chunks_exact(SEGMENT) {
        match u32_at(segment, 0) {
            Some(PT_INTERP) => return Err(invalid("it is not linked statically")),
            Some(PT_LOAD) => {
                let at = u64_at(segment, 8).unwrap_or_default();
                let size = u64_at(segment, 32).unwrap_or_default();
                end = end.max(at.saturating_add(size));
            }
            _ => {}
        }
    }
    let end = end.min(program.metadata()?.len());
    let mut bytes = vec![0; usize::try_from(end).map_err(|_| invalid("too large"))?];
    program.read_exact_at(&mut bytes, 0)?;
    // The section table is cut off.
    bytes[SECTION_HEADERS_AT..SECTION_HEADERS_AT + 8].fill(0);
    bytes[SECTION_COUNT..SECTION_NAMES + 2].fill(0);
    Ok(bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}
