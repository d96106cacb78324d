//! The descriptor of an OVA as bytes: each disk is a file of the archive, or empty, or the whole is refused.
#![no_main]

use bivouac::image::ovf::{self, DiskContent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for disk in ovf::disks(text).into_iter().flatten() {
        match disk {
            DiskContent::File(name) => {
                assert!(!name.starts_with('/') && name.split('/').all(|part| part != ".."));
            }
            DiskContent::Empty(bytes) => assert!(bytes > 0 && bytes <= 1 << 50),
        }
    }
});
