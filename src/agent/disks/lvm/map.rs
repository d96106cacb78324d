//! Hands the tables of logical volumes to the kernel's device-mapper.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::group::Segment;
use crate::sys::{MAPPER_HEADER, MapperCommand, device_mapper};

/// The size of `struct dm_target_spec`, and of a name and an identifier in `struct dm_ioctl`.
const TARGET: usize = 40;
const NAME_AT: usize = 48;
const NAME: usize = 128;
const ID_AT: usize = 176;
const ID: usize = 129;
/// Where `target_count` and `dev` are.
const COUNT_AT: usize = 20;
const DEVICE_AT: usize = 40;

/// The kernel's device-mapper.
#[derive(Debug)]
pub struct Mapper {
    control: File,
}

/// A line of a table: the kernel's own words (Documentation/admin-guide/device-mapper).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In sectors.
    pub start: u64,
    /// In sectors.
    pub length: u64,
    /// `linear` or `striped`.
    pub target: &'static str,
    /// Its arguments.
    pub arguments: String,
}

/// The line for `segment`, where `device` gives `MAJOR:MINOR` of a physical volume.
///
/// # Errors
/// The identifier of the physical volume that is not there.
pub fn line(segment: &Segment, device: impl Fn(&str) -> Option<String>) -> Result<Line, String> {
    let mut places = Vec::new();
    for (id, at) in &segment.stripes {
        let device = device(id).ok_or_else(|| id.clone())?;
        places.push(format!("{device} {at}"));
    }
    let (target, arguments) = match &places[..] {
        [place] => ("linear", place.clone()),
        _ => {
            let stripes = places.join(" ");
            let (count, chunk) = (places.len(), segment.chunk);
            ("striped", format!("{count} {chunk} {stripes}"))
        }
    };
    Ok(Line {
        start: segment.start,
        length: segment.length,
        target,
        arguments,
    })
}

impl Mapper {
    /// Opens it; the module must have been loaded.
    ///
    /// # Errors
    /// What opening says.
    pub fn open() -> io::Result<Self> {
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/mapper/control")?;
        Ok(Self { control })
    }

    /// Makes a device of this table, and gives the number of its node `/dev/dm-N`. A device
    /// whose table is refused is taken away again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(&self, name: &str, id: &str, table: &[Line]) -> io::Result<u32> {
        let made = self.call(MapperCommand::Create, name, id, &[])?;
        let started = self
            .call(MapperCommand::Load, name, "", table)
            .and_then(|_| self.call(MapperCommand::Suspend, name, "", &[]));
        if let Err(error) = started {
            let _ = self.call(MapperCommand::Remove, name, "", &[]);
            return Err(error);
        }
        // `dev` is as the kernel encodes it for the old system calls (huge_encode_dev).
        Ok(((made & 0xff) | (made >> 12 & 0xff_ff00)) as u32)
    }

    /// One request; gives back `dev`.
    fn call(
        &self,
        command: MapperCommand,
        name: &str,
        id: &str,
        table: &[Line],
    ) -> io::Result<u64> {
        let mut request = request(name, id, table).ok_or(io::ErrorKind::InvalidInput)?;
        device_mapper(self.control.as_fd(), command, &mut request)?;
        Ok(request[DEVICE_AT / 8])
    }
}

/// A `struct dm_ioctl` with its targets; `None` where a name is too long for it.
fn request(name: &str, id: &str, table: &[Line]) -> Option<Vec<u64>> {
    let mut bytes = vec![0; MAPPER_HEADER];
    // Version 4.0.0 of the interface, and the targets behind this header.
    bytes[0] = 4;
    bytes[16..20].copy_from_slice(&(MAPPER_HEADER as u32).to_le_bytes());
    bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(table.len() as u32).to_le_bytes());
    if name.len() >= NAME || id.len() >= ID {
        return None;
    }
    bytes[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
    bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id.as_bytes());
    for line in table {
        // The arguments with their NUL, and the next target at a multiple of eight.
        let arguments = (line.arguments.len() + 1).next_multiple_of(8);
        let next = (TARGET + arguments) as u32;
        bytes.extend(line.start.to_le_bytes());
        bytes.extend(line.length.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        let mut target = [0; 16];
        target[..line.target.len()].copy_from_slice(line.target.as_bytes());
        bytes.extend(target);
        let end = bytes.len() + arguments;
        bytes.extend(line.arguments.as_bytes());
        bytes.resize(end, 0);
    }
    let words = bytes.chunks_exact(8);
    let words = words.map(|word| word.first_chunk().map(|word| u64::from_le_bytes(*word)));
    words.collect()
}
