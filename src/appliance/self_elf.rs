//! This program as the appliance's `/init`, reduced to the part that the kernel maps. Symbols and
//! debug information are cut off, because an emulated guest would copy them slowly.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::linux::elf;

/// The program of this process, even if its file was replaced since it started.
pub(super) fn own() -> io::Result<Vec<u8>> {
    mapped_part(&File::open("/proc/self/exe")?)
}

/// The part of a statically linked program that the kernel maps. InvalidData for any other
/// program: it would not run in the appliance, which has no libraries.
pub fn mapped_part(program: &File) -> io::Result<Vec<u8>> {
    let mut header = [0; elf::HEADER_LENGTH];
    program.read_exact_at(&mut header, 0)?;
    let header =
        elf::Header::of(&header).ok_or_else(|| invalid("not an ELF program of 64 bits"))?;
    let mut table = vec![0; header.table_length];
    program.read_exact_at(&mut table, header.table_at)?;
    let mut end = header.table_at + table.len() as u64;
    for segment in elf::segments(&table) {
        match segment.kind {
            elf::PT_INTERP => return Err(invalid("it is not linked statically")),
            elf::PT_LOAD => end = end.max(segment.offset.saturating_add(segment.size)),
            _ => {}
        }
    }
    let end = end.min(program.metadata()?.len());
    let mut bytes = vec![0; usize::try_from(end).map_err(|_| invalid("too large"))?];
    program.read_exact_at(&mut bytes, 0)?;
    // The section headers are cut off.
    elf::forget_sections(&mut bytes);
    Ok(bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
