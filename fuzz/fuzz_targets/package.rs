//! A `.deb` or `.rpm` as bytes: read to its end, every second file in full.
#![no_main]

use std::io::Read;
use std::path::Component;

use bivouac::package;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut count = 0_u32;
    let _ = package::read(data, &mut |path, content| {
        let is_below = |part: Component<'_>| matches!(part, Component::Normal(_));
        assert!(path.components().all(is_below), "{path:?}");
        count += 1;
        if count.is_multiple_of(2) {
            std::io::copy(&mut content.take(1 << 20), &mut std::io::sink())?;
        }
        Ok(())
    });
});
