//! LVM metadata: as text, and in the ring buffer of a physical volume. An fstab and an mdadm.conf
//! are text as well.
#![no_main]

mod sparse;

use bivouac::block::lvm::{group, label};
use bivouac::block::{fstab, mdadm_conf, mount_unit};
use libfuzzer_sys::fuzz_target;

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

fn metadata(text: &str) {
    let Some(group) = group::parse(text) else {
        return;
    };
    assert!(is_file_name(&group.name) && group.volumes.len() <= 1024);
    for volume in group.volumes {
        assert!(is_file_name(&volume.name));
        let mut end = 0;
        for segment in volume.segments.iter().flatten() {
            assert!(segment.start == end && segment.length > 0);
            end = segment.start.checked_add(segment.length).expect("it ends");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    metadata(&text);
    assert!(mdadm_conf::parse(&text).len() <= 128);
    if let Some(entry) = mount_unit::parse("a.mount", &text) {
        assert!(!entry.target.is_empty());
    }
    let entries = fstab::parse(&text);
    assert!(entries.len() <= 128);
    for entry in entries {
        assert!(!entry.source.is_empty() && !entry.target.is_empty());
    }
    sparse::devices(data, |device| {
        if let Some(text) = label::metadata(device) {
            metadata(&text);
        }
    });
});
