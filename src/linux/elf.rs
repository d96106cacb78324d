//! ELF headers (elf(5)): what a program is for, and its segments. Reads headers only.

use super::bytes::Fields;

/// How much of a file [`Machine::of`] needs.
pub const MACHINE_LENGTH: usize = 20;
/// The size of a 64-bit file's header, which [`Header::of`] needs.
pub const HEADER_LENGTH: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;

pub const PT_LOAD: u32 = 1;
/// A segment that names the program's interpreter: the program is linked dynamically.
pub const PT_INTERP: u32 = 3;
pub const PT_NOTE: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// 64-bit (EI_CLASS).
    pub is_64: bool,
    /// Little-endian (EI_DATA).
    pub is_little: bool,
    /// The processor (e_machine).
    pub number: u16,
}

impl Machine {
    /// By the start of a file, [`MACHINE_LENGTH`] bytes; `None` if it is not an ELF file.
    pub fn of(head: &[u8]) -> Option<Self> {
        let is_little = *head.get(5)? == 1;
        let number = match is_little {
            true => head.get_le16(18)?,
            false => head.get_be16(18)?,
        };
        head.has(0, b"\x7fELF").then_some(Self {
            is_64: head[4] == 2,
            is_little,
            number,
        })
    }
}

/// The header of a 64-bit little-endian file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the program headers are (e_phoff).
    pub table_at: u64,
    /// How many bytes they are.
    pub table_length: usize,
}

impl Header {
    /// By the start of a file, [`HEADER_LENGTH`] bytes; `None` if it is not a 64-bit little-endian
    /// ELF file with program headers of the usual size.
    pub fn of(head: &[u8]) -> Option<Self> {
        let count = head.get_le16(56)?;
        let is_usual = head.has(0, b"\x7fELF\x02\x01") && head.le16(54) as usize == PROGRAM_HEADER;
        is_usual.then_some(Self {
            table_at: head.le64(32),
            table_length: usize::from(count) * PROGRAM_HEADER,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: u32,
    pub offset: u64,
    /// How many bytes it is in the file.
    pub size: u64,
}

/// The segments in the program headers of a 64-bit little-endian file.
pub fn segments(table: &[u8]) -> impl Iterator<Item = Segment> {
    table.chunks_exact(PROGRAM_HEADER).map(|header| Segment {
        kind: header.le32(0),
        offset: header.le64(8),
        size: header.le64(32),
    })
}

/// The content of the first section of this name in a whole 64-bit little-endian file.
pub fn section<'a>(file: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if !file.has(0, b"\x7fELF\x02\x01") || file.le16(58) as usize != SECTION_HEADER {
        return None;
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    // e_shoff, e_shnum and e_shstrndx.
    let (table_at, count) = (size(file.le64(40)), usize::from(file.le16(60)));
    let headers = file.part(table_at, count * SECTION_HEADER);
    let content = |header: &[u8]| file.part(size(header.le64(24)), size(header.le64(32)));
    let mut headers = headers.chunks_exact(SECTION_HEADER);
    let names = content(headers.clone().nth(usize::from(file.le16(62)))?);
    let found = headers.find(|header| {
        let at = header.le32(0) as usize;
        names.has(at, name) && names.get(at + name.len()) == Some(&0)
    });
    found.map(content)
}

/// Removes the reference to the section headers from a 64-bit file's header.
pub fn forget_sections(file: &mut [u8]) {
    // e_shoff; e_shnum and e_shstrndx.
    for field in [40..48, 60..64] {
        if let Some(field) = file.get_mut(field) {
            field.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_a_machine_and_segments() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let machine = Machine::of(&file[..MACHINE_LENGTH]).unwrap();
        assert_eq!((machine.is_64, machine.is_little), (true, true));
        let header = Header::of(&file[..HEADER_LENGTH]).unwrap();
        let table = file.part(header.table_at as usize, header.table_length);
        let length = file.len() as u64;
        let loaded: Vec<_> = segments(table).filter(|s| s.kind == PT_LOAD).collect();
        assert!(!loaded.is_empty());
        assert!(loaded.iter().all(|s| s.offset + s.size <= length));
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        // `main` is among its symbols.
        let names = section(&file, b".strtab").unwrap();
        assert!(names.windows(6).any(|window| window == b"\0main\0"));
        assert_eq!(section(&file, b".strt"), None);
        assert_eq!(section(&file[..100], b".strtab"), None);
        assert_eq!(section(b"\x7fELF\x02\x01", b".strtab"), None);
    }

    #[test]
    fn what_is_no_elf_file_has_no_machine() {
        for none in [&b"#!/bin/sh\n is not an ELF file"[..], b"\x7fELF", b""] {
            assert_eq!((Machine::of(none), Header::of(none)), (None, None));
        }
        forget_sections(&mut [0; 42]);
        assert_eq!(segments(&[0; 55]).count(), 0);
    }
}
