//! Chains as files: the input is a top image, and where its last byte is odd, the layer below
//! too. The rest of that byte says which format the top is declared to have, if any.
#![no_main]

use bivouac::image::Format;
use bivouac::image::boot_sectors::{of_cdrom, of_disk};
use bivouac::image::chain::{MAX_LAYERS, Request, examine, resolve};
use bivouac::image::guest_disk::GuestDisk;
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The directory that scripts/fuzz makes in memory, with a base for names to lead to.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = std::env::var_os("FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        fs::write(directory.join("base"), [0; 4096]).expect("a base");
        directory
    })
}

fuzz_target!(|data: &[u8]| {
    let choice = data.last().copied().unwrap_or_default();
    let top = directory().join("top");
    fs::write(&top, data).expect("the top is written");
    if choice & 1 == 1 {
        fs::write(directory().join("base"), data).expect("the base is written");
    }
    let declared = usize::from(choice >> 1)
        .checked_sub(1)
        .and_then(|nth| Format::ALL.get(nth))
        .copied();
    let request = Request {
        format: declared,
        ..Request::of(top)
    };
    let examined = examine(&request);
    assert!(examined.layers.len() <= MAX_LAYERS);
    let plain = |text: &str| !text.chars().any(char::is_control);
    for problem in &examined.problems {
        let mut cause: Option<&dyn std::error::Error> = Some(problem);
        while let Some(error) = cause {
            assert!(plain(&error.to_string()));
            cause = error.source();
        }
        assert!(problem.hint().is_none_or(|hint| plain(&hint)));
    }
    for layer in &examined.layers {
        assert!(layer.virtual_size() > 0);
        assert!(
            layer
                .warnings()
                .iter()
                .all(|warning| plain(&warning.to_string()))
        );
    }
    let resolved = resolve(&request);
    assert_eq!(resolved.is_ok(), examined.problems.is_empty());
    if let Ok(chain) = resolved {
        let disk = GuestDisk::of(&chain);
        // Bytes or an error.
        let _ = of_disk(&disk, chain.virtual_size());
        let _ = of_cdrom(&disk);
    }
});
