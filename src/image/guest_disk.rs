//! The disk that a guest sees, read through its chain without QEMU. For a few bytes: each read goes
//! through the tables of every layer. Raw and qcow2 only.

use std::io;
use std::sync::Arc;

use super::chain::Chain;
use super::formats::ReadAt;
use super::layer::Layer;

/// The disk of a chain. Reads beyond its end give zeros.
#[derive(Debug)]
pub struct GuestDisk<'a> {
    /// The top first. Below the base there are zeros.
    layers: &'a [Arc<Layer>],
}

impl<'a> GuestDisk<'a> {
    pub fn of(chain: &'a Chain) -> Self {
        Self {
            layers: chain.layers(),
        }
    }
}

impl ReadAt for GuestDisk<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let Some((top, layers)) = self.layers.split_first() else {
            buffer.fill(0);
            return Ok(());
        };
        let below = GuestDisk { layers };
        top.read_guest(buffer, offset, |buffer, offset| {
            below.read_exact_at(buffer, offset)
        })
    }
}
