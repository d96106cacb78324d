//! The store of templates by itself: no machine is needed for it.

mod image_keys;
mod owners;
mod steps;
mod store;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bivouac::appliance::boot::ApplianceConfig;
use bivouac::host::kernel::Kernel;
use bivouac::machine::plan::Accelerator;
use bivouac::template::key::Key;
use bivouac::template::memory;
use bivouac::template::snapshot::Snapshot;
use bivouac::template::store::{Builder, Store};

/// An appliance with so much memory. Nobody runs it: a key needs files, and no certain ones.
pub fn settings(memory_mib: u64) -> ApplianceConfig {
    let file = || env!("CARGO_BIN_EXE_bivouac").into();
    ApplianceConfig {
        qemu: file(),
        accelerator: Accelerator::Tcg,
        memory_mib,
        cpus: 1,
        kernel: Kernel {
            image: file(),
            release: None,
            modules: None,
            newer_unreadable: None,
        },
        sandbox: Default::default(),
        phases: Default::default(),
    }
}

pub fn key(memory_mib: u64) -> Key {
    Key::of_appliance(&settings(memory_mib), 1).unwrap()
}

/// Whoever begins a template that nobody else builds.
pub fn begin(store: &Store, key: &Key) -> Builder {
    match store.begin(key).unwrap() {
        Some(building) => building,
        None => panic!("nobody else builds it"),
    }
}

/// Publishes a template with `kib` of memory that is not zero.
fn publish(store: &Store, key: &Key, kib: u64) {
    let memory = memory::new(16).unwrap();
    for page in 0..kib / 4 {
        memory
            .write_all_at(&[1 + page as u8; 4096], page * 8192)
            .unwrap();
    }
    let snapshot = Snapshot {
        memory,
        state: b"the state".to_vec(),
        devices_only: false,
        machine: "pc-q35-7.2".to_owned(),
        qemu: (7, 2, 22),
        overlays: vec![],
    };
    begin(store, key).publish(key, &snapshot).unwrap();
}

/// Changes one byte of a file where it stands.
pub fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    (&file).flush().unwrap();
}
