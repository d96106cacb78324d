//! Partition tables of block devices, of every sector size that disks have.
#![no_main]

mod sparse;

use bivouac::block::device_reader::ReadAt;
use bivouac::block::tables;
use libfuzzer_sys::fuzz_target;

fn read(device: &dyn ReadAt) {
    for sector in [512, 2048, 4096] {
        for has_content in [false, true] {
            let Some(table) = tables::read(device, sector, has_content) else {
                continue;
            };
            assert!(table.partitions.len() <= 255 && table.warnings.len() <= 8);
            let mut numbers: Vec<_> = table.partitions.iter().map(|part| part.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), table.partitions.len(), "each has its own number");
            let texts = table.partitions.iter().flat_map(|part| {
                [&part.kind, &part.label, &part.uuid].into_iter().flatten()
            });
            for text in texts.chain([&table.id]) {
                assert!(!text.contains('\0') && text.len() <= 216);
            }
            for part in &table.partitions {
                assert!(part.number >= 1 && part.bytes > 0, "{part:?}");
            }
        }
    }
}

fuzz_target!(|data: &[u8]| sparse::devices(data, read));
