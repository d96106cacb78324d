//! Superblocks of block devices: the kind, the UUID and the label.
#![no_main]

mod sparse;

use bivouac::block::device_reader::ReadAt;
use bivouac::block::superblock;
use libfuzzer_sys::fuzz_target;

fn probe(device: &dyn ReadAt) {
    if let Some(content) = superblock::probe(device) {
        let is_sane = |text: &String| !text.contains('\0') && text.len() <= 3072;
        assert!(content.label.iter().chain(&content.uuid).all(is_sane));
    }
}

fuzz_target!(|data: &[u8]| sparse::devices(data, probe));
