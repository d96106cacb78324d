//! Overlays with known content, merged and read back.

use super::*;
use crate::image::format::Format;
use crate::image::qcow2::{Geometry, clusters};
use proptest::prelude::*;

/// Subclusters of 512 bytes, so that tests are small.
const GEOMETRY: Geometry = Geometry {
    cluster_bits: 14,
    extended_l2: true,
};
const SUBCLUSTER: u64 = 512;

fn empty(backing: &[u8]) -> EmptyOverlay<'_> {
    EmptyOverlay {
        virtual_size: 40 << 20,
        backing_file: backing,
        backing_format: Format::Raw,
        geometry: GEOMETRY,
    }
}

fn parsed(file: &File) -> Header {
    let mut head = vec![0; 1 << 14];
    file.read_exact_at(&mut head, 0).unwrap();
    Header::parse(&head).unwrap()
}

/// An overlay with subclusters of these numbers, each filled with a byte, or zeros if that is 0.
fn overlay(content: &[(u64, u8)]) -> File {
    let file = tempfile::tempfile().unwrap();
    empty(b"/base").write_to(&file).unwrap();
    let mut fields = [0; 48];
    file.read_exact_at(&mut fields, 0).unwrap();
    let mut end = file.metadata().unwrap().len();
    let mut next = || {
        end += 1 << 14;
        file.set_len(end).unwrap();
        end - (1 << 14)
    };
    let read = |at| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at).unwrap();
        u64::from_be_bytes(word)
    };
    let write = |at, word: u64| file.write_all_at(&word.to_be_bytes(), at).unwrap();
    for (number, byte) in content {
        let (cluster, bit) = (number / 32, number % 32);
        let l1 = fields.be64(40) + cluster / 1024 * 8;
        if read(l1) == 0 {
            write(l1, next() | COPIED);
        }
        let l2 = (read(l1) & OFFSET) + cluster % 1024 * 16;
        let bitmap = read(l2 + 8) & !(1 << bit | 1 << (bit + 32));
        if *byte == 0 {
            write(l2 + 8, bitmap | 1 << (bit + 32));
            continue;
        }
        if read(l2) == 0 {
            write(l2, next() | COPIED);
        }
        write(l2 + 8, bitmap | 1 << bit);
        let at = (read(l2) & OFFSET) + bit * SUBCLUSTER;
        file.write_all_at(&[*byte; SUBCLUSTER as usize], at)
            .unwrap();
    }
    file
}

/// The first byte of a subcluster; 255 where the image below has it.
fn first_byte(file: &File, number: u64) -> u8 {
    let mut byte = [0];
    let below = |bytes: &mut [u8], _| {
        bytes.fill(255);
        Ok(())
    };
    clusters::read(file, &parsed(file), &mut byte, number * SUBCLUSTER, below).unwrap();
    byte[0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn of_each_subcluster_the_highest_content_is_kept(
        layers in prop::collection::vec(
            prop::collection::vec((prop_oneof![0_u64..80, 65_000_u64..65_600], 0_u8..4), 0..60),
            1..4,
        ),
    ) {
        let files: Vec<File> = layers.iter().map(|layer| overlay(layer)).collect();
        let to = tempfile::tempfile().unwrap();
        merge(&files.iter().collect::<Vec<_>>(), empty(b"base.raw"), &to).unwrap();
        prop_assert_eq!(parsed(&to).backing.unwrap().name, b"base.raw");
        for number in (0..80).chain(65_000..65_600) {
            let expected = files.iter().map(|file| first_byte(file, number)).find(|byte| *byte != 255);
            prop_assert_eq!(first_byte(&to, number), expected.unwrap_or(255), "{}", number);
        }
    }
}

#[test]
fn a_name_that_does_not_fit_is_an_error() {
    let to = tempfile::tempfile().unwrap();
    let name = [b'a'; 1024];
    let error = merge(&[&overlay(&[])], empty(&name), &to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
}

#[test]
fn another_geometry_is_refused() {
    let other = tempfile::tempfile().unwrap();
    let plain = EmptyOverlay {
        geometry: Geometry::default(),
        ..empty(b"/base")
    };
    plain.write_to(&other).unwrap();
    let to = tempfile::tempfile().unwrap();
    let error = merge(&[&other], empty(b"/base"), &to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
