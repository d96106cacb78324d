//! The guest's physical memory, read in QEMU's address space while the guest runs.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::written_pages::{Mapping, mappings};

/// Below this address, in bytes, memory is in its file where the guest has it: QEMU's machine types of x86-64
/// have their devices above.
const BELOW_DEVICES: u64 = 2 << 30;

/// Where a process has mapped the memory of its guest.
#[derive(Debug)]
pub struct GuestMemory {
    process: Pid,
    mappings: Vec<Mapping>,
}

impl GuestMemory {
    /// Fails with [`ErrorKind::PermissionDenied`] if this process may not read the memory of `process`, its child.
    pub fn of(process: u32, memory: &File) -> io::Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            return Err(ErrorKind::Unsupported.into());
        }
        let memory = Self {
            process: Pid::from_raw(process.cast_signed()),
            mappings: mappings(process, memory)?,
        };
        memory.read(0, &mut [0])?;
        Ok(memory)
    }

    /// Fills `bytes` with what is at a physical address. Fails with [`ErrorKind::InvalidInput`] if not all of
    /// it is memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        let place = place(&self.mappings, address, bytes.len() as u64);
        let base = place.ok_or(ErrorKind::InvalidInput)? as usize;
        let len = bytes.len();
        let remote = [RemoteIoVec { base, len }];
        match process_vm_readv(self.process, &mut [IoSliceMut::new(bytes)], &remote)? {
            read if read == len => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Where a range of physical memory is mapped as one.
fn place(mappings: &[Mapping], address: u64, length: u64) -> Option<u64> {
    let end = address.checked_add(length)?;
    mappings.iter().find_map(|mapping| {
        let mapped =
            mapping.offset..=BELOW_DEVICES.min(mapping.offset.checked_add(mapping.length)?);
        let is_inside = mapped.contains(&address) && mapped.contains(&end);
        is_inside.then(|| mapping.address + (address - mapping.offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_place_if_all_of_it_is_memory() {
        let mapping = |address, length, offset| Mapping {
            address,
            length,
            offset,
        };
        let mappings = [
            mapping(0x7000, 0x2000, 0),
            mapping(0x1_0000, 4 << 30, 0x2000),
        ];
        for (address, length, expected) in [
            (0, 1, Some(0x7000)),
            (0x1000, 0x1000, Some(0x8000)),
            // From one to the other.
            (0x1000, 0x1001, None),
            (0x2000, 0x1000, Some(0x1_0000)),
            (
                BELOW_DEVICES - 1,
                1,
                Some(0x1_0000 + BELOW_DEVICES - 0x2001),
            ),
            (BELOW_DEVICES - 1, 2, None),
            (BELOW_DEVICES, 1, None),
            (u64::MAX, 1, None),
            (1, u64::MAX, None),
            (u64::MAX, u64::MAX, None),
        ] {
            assert_eq!(place(&mappings, address, length), expected, "{address:#x}");
        }
        assert_eq!(place(&[], 0, 1), None);
    }

    #[test]
    fn the_memory_of_this_process_is_not_a_guest_s() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let error = GuestMemory::of(std::process::id(), &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
