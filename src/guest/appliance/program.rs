//! This program as the appliance's `/init`: what the kernel maps of it, and nothing else.
//! Symbols and debug information stay here; a guest that is emulated would copy them slowly.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::linux::elf;

/// The program of this process, even where its file has been replaced since it was started.
///
/// # Errors
/// See [`mapped_part`].
pub fn own() -> io::Result<Vec<u8>> {
    mapped_part(&File::open("/proc/self/exe")?)
}

/// The part of a statically linked program that the kernel maps.
///
/// # Errors
/// InvalidData where it is no such program: in the appliance there is no other file.
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
