//! Headers as bytes: the qcow2 parser, and the readers of the other formats. No file is touched.
#![no_main]

use bivouac::image::Format;
use bivouac::image::formats::{ReadAt, virtual_size};
use bivouac::image::qcow2::Header;
use libfuzzer_sys::fuzz_target;
use std::io;

/// A large file out of few bytes: what lies from 192 KiB on (where vhdx keeps its tables)
/// is the input over again, behind its first sector.
struct Folded<'a>(&'a [u8]);

impl ReadAt for Folded<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(fold) = self.0.get(512..).filter(|fold| !fold.is_empty()) else {
            return self.0.read_exact_at(buffer, offset);
        };
        let Some(behind) = offset.checked_sub(192 << 10) else {
            return self.0.read_exact_at(buffer, offset);
        };
        for (nth, byte) in buffer.iter_mut().enumerate() {
            *byte = fold[((behind as usize).wrapping_add(nth)) % fold.len()];
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = Header::parse(data) {
        assert!((9..=21).contains(&header.cluster_bits));
        assert!(header.virtual_size > 0 && header.virtual_size < 1 << 63);
        if let Some(backing) = header.backing {
            assert!((1..=1023).contains(&backing.name.len()) && !backing.name.contains(&0));
            assert!(backing.format.is_none_or(|format| format.len() < 16));
        }
    }
    for format in Format::ALL {
        if let Ok(size) = virtual_size(format, &Folded(data), data.len() as u64) {
            assert!(size > 0 && size < 1 << 63);
        }
    }
});
