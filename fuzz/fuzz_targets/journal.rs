//! A journal file as bytes: every entry, and of each every field.
#![no_main]

use bivouac::journal::{JournalFile, MAX_DATA};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = JournalFile::new(data) else {
        return;
    };
    let mut reader = file.data();
    for entry in file.entries().flatten() {
        let Ok(fields) = file.fields(&entry) else {
            continue;
        };
        for offset in fields {
            if let Ok(Some(field)) = reader.field(offset, |name| name.len() < 64) {
                assert!(field.value().len() <= MAX_DATA);
                assert!(!field.name().contains(&b'='));
            }
            // Entries may share one field that takes long to decompress.
            if reader.decompressed > 4 << 20 {
                return;
            }
        }
    }
});
