//! The store on a filesystem that takes nothing.

use std::fs;

use bivouac::template::memory;
use bivouac::template::snapshot::Snapshot;
use bivouac::template::store::Store;

use crate::template::{begin, key};

#[test]
fn a_store_that_is_full_or_read_only_says_so_and_keeps_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("templates");
    fs::create_dir(&place).unwrap();
    let mounted = |options: &str| {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "small"])
            .arg(&place)
            .status()
            .unwrap();
        assert!(status.success());
    };
    mounted("size=128k,mode=0700");
    let store = Store::open_at(&place).unwrap();
    let memory = memory::new(16).unwrap();
    let whole = vec![7; 1 << 20];
    std::os::unix::fs::FileExt::write_all_at(&memory, &whole, 0).unwrap();
    let snapshot = Snapshot {
        memory,
        state: vec![],
        devices_only: false,
        machine: "q35".to_owned(),
        qemu: (7, 2, 0),
        overlays: vec![],
    };
    let full = begin(&store, &key(256)).publish(&key(256), &snapshot);
    let left = fs::read_dir(&place)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect::<Vec<_>>();
    mounted("ro,mode=0700");
    let read_only = Store::open_at(&place).unwrap();
    let read_only = read_only.begin(&key(256)).map(|_| ());
    for _ in 0..2 {
        // A store holds its directory open.
        let status = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&place)
            .status();
        assert!(status.unwrap().success());
    }
    let text = format!("{:#}", anyhow::Error::from(full.unwrap_err()));
    assert!(
        text.contains("writing") && text.contains("No space"),
        "{text}"
    );
    assert!(left.is_empty(), "{left:?}");
    let text = format!("{:#}", anyhow::Error::from(read_only.unwrap_err()));
    assert!(text.contains("Read-only"), "{text}");
}
