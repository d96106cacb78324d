//! Templates: the store by itself, and machines that are restored from it.

mod clones;
mod damage;
mod killed;
mod many;
mod store;
mod warm;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bivouac::guest::boot::ApplianceConfig;
use bivouac::host::{kernel, qemu};
use bivouac::machine::plan::Accelerator;
use bivouac::template::key::Key;
use bivouac::template::memory;
use bivouac::template::snapshot::Snapshot;
use bivouac::template::store::{BuildLock, Builder, Store};

use crate::env::bivouac::{Bivouac, Finished};

/// An appliance of this host, with so much memory.
fn settings(memory_mib: u64) -> ApplianceConfig {
    ApplianceConfig {
        qemu: qemu::find(None).unwrap(),
        accelerator: Accelerator::Tcg,
        memory_mib,
        cpus: 1,
        kernel: kernel::find(None).unwrap(),
        phases: Default::default(),
    }
}

fn key(memory_mib: u64) -> Key {
    Key::of_appliance(&settings(memory_mib), 1).unwrap()
}

/// Whoever begins a template that nobody else builds.
fn begin(store: &Store, key: &Key) -> Builder {
    match store.begin(key).unwrap() {
        BuildLock::Acquired(builder) => builder,
        BuildLock::Busy => panic!("nobody else builds it"),
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
        machine: "pc-q35-7.2".to_owned(),
        qemu: (7, 2, 22),
        overlays: vec![],
    };
    begin(store, key).publish(key, &snapshot).unwrap();
}

/// `bivouac` with a store of its own below `home`, in an appliance of 256 MiB.
fn chroot(home: &Path, image: &str, script: &str) -> Bivouac {
    Bivouac::new()
        .args(["chroot", "-v", "--memory", "256M"])
        .arg(image)
        .args(["--", "sh", "-c", script])
        .env("XDG_CACHE_HOME", home)
}

fn templates(home: &Path) -> PathBuf {
    home.join("bivouac/templates")
}

/// The only template below `home`.
fn only_template(home: &Path) -> PathBuf {
    let found: Vec<_> = std::fs::read_dir(templates(home))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn was_restored(finished: &Finished) -> bool {
    finished
        .stderr
        .contains("the appliance is restored from its template")
}

fn was_booted(finished: &Finished) -> bool {
    finished.stderr.contains("the appliance is booted")
}

/// Changes one byte of a file where it stands.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    (&file).flush().unwrap();
}
