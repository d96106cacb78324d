//! Creates devices of the kernel's device-mapper (<linux/dm-ioctl.h>).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::block::lvm::table::TableLine;
use crate::sys::{MAPPER_HEADER, MapperCommand, device_mapper};

/// The size of `struct dm_target_spec`, and where the name and the identifier are in
/// `struct dm_ioctl`, with their sizes.
const TARGET: usize = 40;
const NAME_AT: usize = 48;
const NAME: usize = 128;
const ID_AT: usize = 176;
const ID: usize = 129;
/// The offsets of `target_count` and `dev`.
const COUNT_AT: usize = 20;
const DEVICE_AT: usize = 40;

pub(crate) struct DeviceMapper {
    control: File,
}

impl DeviceMapper {
    /// The module must have been loaded.
    pub(crate) fn open() -> io::Result<Self> {
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/mapper/control")?;
        Ok(Self { control })
    }

    /// Creates a device with this table and returns its major and minor number. If the table is
    /// refused the device is removed again.
    pub(crate) fn create(
        &self,
        name: &str,
        id: &str,
        table: &[TableLine],
    ) -> io::Result<(u32, u32)> {
        let device = self.call(MapperCommand::Create, name, id, &[])?;
        let started = self
            .call(MapperCommand::Load, name, "", table)
            .and_then(|_| self.call(MapperCommand::Suspend, name, "", &[]));
        if let Err(error) = started {
            let _ = self.call(MapperCommand::Remove, name, "", &[]);
            return Err(error);
        }
        // The encoding of `dev` is that of huge_encode_dev in the kernel.
        let minor = (device & 0xff) | (device >> 12 & 0xff_ff00);
        Ok(((device >> 8 & 0xfff) as u32, minor as u32))
    }

    /// Makes one request and returns `dev`.
    fn call(
        &self,
        command: MapperCommand,
        name: &str,
        id: &str,
        table: &[TableLine],
    ) -> io::Result<u64> {
        let mut request = request(name, id, table).ok_or(io::ErrorKind::InvalidInput)?;
        device_mapper(self.control.as_fd(), command, &mut request)?;
        Ok(request[DEVICE_AT / 8])
    }
}

/// A `struct dm_ioctl` followed by its targets; `None` if a name is too long.
fn request(name: &str, id: &str, table: &[TableLine]) -> Option<Vec<u64>> {
    let mut bytes = vec![0; MAPPER_HEADER];
    // Version 4.0.0 of the interface; the targets follow the header.
    bytes[0] = 4;
    bytes[16..20].copy_from_slice(&(MAPPER_HEADER as u32).to_le_bytes());
    bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(table.len() as u32).to_le_bytes());
    if name.len() >= NAME || id.len() >= ID {
        return None;
    }
    bytes[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
    bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id.as_bytes());
    for line in table {
        // The arguments end in NUL, and the next target is aligned to eight bytes.
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
