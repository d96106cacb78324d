//! Superblocks of MD array members.
#![no_main]

mod sparse;

use bivouac::block::device_reader::ReadAt;
use bivouac::block::raid;
use libfuzzer_sys::fuzz_target;

fn member(device: &dyn ReadAt) {
    if let Some(member) = raid::member(device) {
        let name = member.name();
        assert!(!name.is_empty() && !name.contains(['/', '\0', '.']));
        assert_eq!(member.id.len(), 16);
    }
}

fuzz_target!(|data: &[u8]| sparse::devices(data, member));
