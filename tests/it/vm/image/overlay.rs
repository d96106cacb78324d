//! The empty overlay, as QEMU's own tools see it.

use super::Images;
use bivouac::image::Format;
use bivouac::image::qcow2::{EmptyOverlay, Geometry};
use std::fs::File;

const MIB: u64 = 1 << 20;

/// Writes an overlay of that name and returns what `qemu-img info` and `check` say of it.
fn seen_by_qemu(images: &Images, overlay: &EmptyOverlay<'_>) -> serde_json::Value {
    let file = File::create(images.path("overlay.qcow2")).expect("the file is made");
    overlay.write_to(&file).expect("the overlay is written");
    let check = images.command(["qemu-img", "check", "-f", "qcow2", "overlay.qcow2"]);
    let text = String::from_utf8_lossy(&check.stdout);
    let stderr = String::from_utf8_lossy(&check.stderr);
    assert!(
        check.status.success() && stderr.is_empty(),
        "{overlay:?}\n{text}{stderr}"
    );
    assert!(
        text.contains("No errors were found on the image."),
        "{overlay:?}\n{text}"
    );
    let info = images.shell("qemu-img info -f qcow2 --output=json overlay.qcow2");
    serde_json::from_str(&info).expect("qemu-img writes JSON")
}

#[test]
fn qemu_finds_the_overlay_flawless_from_512_bytes_to_64_tib() {
    let images = Images::new();
    images.raw("base.raw");
    let backing = images.path("base.raw");
    let backing_file = backing.as_os_str().as_encoded_bytes();
    let sizes = [
        1,
        512,
        513,
        1000 * MIB + 512,
        512 * MIB,
        2 << 40,
        (64 << 40) - 512,
        64 << 40,
    ];
    for extended_l2 in [false, true] {
        for cluster_bits in [16, 17, 21] {
            for virtual_size in sizes {
                let geometry = Geometry {
                    cluster_bits,
                    extended_l2,
                };
                let overlay = EmptyOverlay {
                    virtual_size,
                    backing_file,
                    backing_format: Format::Raw,
                    geometry,
                };
                let info = seen_by_qemu(&images, &overlay);
                let rounded = virtual_size.next_multiple_of(512);
                assert_eq!(info["virtual-size"], rounded);
                assert_eq!(info["cluster-size"], 1 << cluster_bits);
                assert_eq!(info["backing-filename"], backing.to_str().expect("UTF-8"));
                assert_eq!(info["backing-filename-format"], "raw");
                let specific = &info["format-specific"]["data"];
                assert_eq!(specific["extended-l2"], extended_l2);
                assert_eq!(specific["compat"], "1.1");
                assert_eq!(specific["corrupt"], false);
                // The tables are holes: even 64 TiB cost a few blocks.
                let actual = info["actual-size"].as_u64().expect("a size");
                assert!(
                    actual <= 64 * 1024,
                    "{virtual_size}: {actual} bytes on disk"
                );
            }
        }
    }
}

#[test]
fn small_clusters_are_flawless_up_to_the_largest_l1_table() {
    let images = Images::new();
    for cluster_bits in 9..=15 {
        // 4 Mi entries, each of which spans cluster / 8 clusters.
        let largest = (4 * MIB) << (2 * cluster_bits - 3);
        let mut overlay = EmptyOverlay {
            virtual_size: largest,
            backing_file: b"",
            backing_format: Format::Raw,
            geometry: Geometry {
                cluster_bits,
                extended_l2: false,
            },
        };
        assert_eq!(seen_by_qemu(&images, &overlay)["virtual-size"], largest);
        overlay.virtual_size = largest + 1;
        let file = tempfile::tempfile().expect("a temporary file");
        let error = overlay
            .write_to(&file)
            .expect_err("it is one entry too large");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_backing_name_that_no_header_can_hold_is_left_out() {
    let images = Images::new();
    images.qcow2("base");
    for (length, recorded) in [(1023, true), (1024, false), (4000, false)] {
        let mut name = images.dir().as_os_str().as_encoded_bytes().to_vec();
        name.resize(length - 4, b'/');
        name.extend(b"base");
        let overlay = EmptyOverlay {
            virtual_size: MIB,
            backing_file: &name,
            backing_format: Format::Qcow2,
            geometry: Geometry::default(),
        };
        let info = seen_by_qemu(&images, &overlay);
        assert_eq!(info["backing-filename"].is_string(), recorded, "{length}");
    }
}

#[test]
fn qemu_writes_into_the_overlay_and_reads_the_base_through_it() {
    let images = Images::new();
    images.raw("base.raw");
    images.patch("base.raw", 4096, b"core");
    let backing = images.path("base.raw");
    for extended_l2 in [false, true] {
        let overlay = EmptyOverlay {
            virtual_size: 64 << 40,
            backing_file: backing.as_os_str().as_encoded_bytes(),
            backing_format: Format::Raw,
            geometry: Geometry {
                cluster_bits: 16,
                extended_l2,
            },
        };
        seen_by_qemu(&images, &overlay);
        images.shell(
            "qemu-io -f qcow2 -c 'write -P 7 1M 200k' -c 'write -P 9 60T 4k' -c 'read -P 7 1M 200k' \
             -c 'read -P 9 60T 4k' -c 'read -P 99 4096 1' -c 'read -P 0 30T 1M' overlay.qcow2 >out",
        );
        let out = images.shell("cat out");
        assert!(!out.contains("failed"), "{out}");
        images.shell("qemu-img check -f qcow2 overlay.qcow2");
    }
}
