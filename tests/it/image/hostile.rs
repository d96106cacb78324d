//! The known attacks, each with an image made for it: none of them gets a host file read as
//! a disk. (A command that takes more than 30 seconds is ended, and fails.)

use super::Images;
use bivouac::image::Format;
use bivouac::image::qcow2::{EmptyOverlay, Geometry};
use std::fs;

#[test]
fn cve_2008_2004_a_raw_disk_that_turned_into_a_qcow2_header_is_not_believed() {
    let images = Images::new();
    fs::write(images.path("secret"), "secret\n".repeat(100)).expect("written");
    let secret = images.path("secret");
    images.recording("disk.raw", secret.to_str().expect("UTF-8"), Some("raw"));
    insta::assert_snapshot!("cve_2008_2004", images.refused(&["disk.raw"]));
    // The hint that treats it as the raw disk it was never looks at the name.
    let tree = images.accepted(&["disk.raw", "--format", "raw"]);
    assert!(!tree.contains("secret"), "{tree}");
}

#[test]
fn cve_2010_3851_a_lower_layer_without_a_recorded_format_is_not_probed() {
    let images = Images::new();
    images.recording("base.raw", "/etc/passwd", Some("raw"));
    images.recording("top.qcow2", "base.raw", None);
    insta::assert_snapshot!("cve_2010_3851", images.refused(&["top.qcow2"]));
    // Recorded as raw, the planted header is never followed.
    images.recording("top.qcow2", "base.raw", Some("raw"));
    assert_eq!(
        images.json(&["top.qcow2"])["layers"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn cve_2022_47951_a_vmdk_descriptor_that_names_files_is_refused() {
    let images = Images::new();
    let descriptor = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
         createType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/passwd\" 0\n";
    fs::write(images.path("flat.vmdk"), descriptor).expect("written");
    insta::assert_snapshot!("vmdk_descriptor", images.refused(&["flat.vmdk"]));
    // The same under a raw name, and with blank lines in front but told to be a vmdk.
    fs::write(images.path("flat.raw"), descriptor).expect("written");
    insta::assert_snapshot!("vmdk_descriptor_as_raw", images.refused(&["flat.raw"]));
    fs::write(images.path("blank"), format!("\n\n{descriptor}")).expect("written");
    let told = images.refused(&["blank", "--format", "vmdk"]);
    assert!(told.contains("a vmdk descriptor"), "{told}");
}

#[test]
fn the_l1_tables_of_a_chain_may_take_128_mib_together() {
    let images = Images::new();
    for layer in 1..=5 {
        let backing = match layer {
            1 => String::new(),
            _ => (layer - 1).to_string(),
        };
        // 4 Mi entries, the most that one image may have.
        let image = EmptyOverlay {
            virtual_size: (4 << 20) << 15,
            backing_file: backing.as_bytes(),
            backing_format: Format::Qcow2,
            geometry: Geometry {
                cluster_bits: 9,
                extended_l2: false,
            },
        };
        let file = fs::File::create(images.path(&layer.to_string())).expect("made");
        image.write_to(&file).expect("written");
    }
    images.accepted(&["4"]);
    insta::assert_snapshot!("l1_tables", images.refused(&["5"]));
}

#[test]
fn an_iso_with_a_qcow2_header_in_its_system_area_is_refused() {
    let images = Images::new();
    for name in ["cd", "cd.iso", "cd.qcow2"] {
        images.raw(name);
        images.patch(
            name,
            0,
            &fs::read({
                images.qcow2("header.qcow2");
                images.path("header.qcow2")
            })
            .expect("read")[..512],
        );
        images.patch(name, 32769, b"CD001");
        let text = images
            .refused(&[name])
            .replace(&format!("{name}\""), "[name]\"");
        insta::assert_snapshot!("iso_with_header", text);
        images.accepted(&[name, "--format", "raw"]);
    }
    images.raw("plain.iso");
    images.patch("plain.iso", 32769, b"CD001");
    images.accepted(&["plain.iso"]);
}

#[test]
fn sizes_that_a_header_only_claims_cost_no_memory() {
    let images = Images::new();
    let mut header = vec![0_u8; 4096];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    header[8..].fill(0xff);
    for bits in [9, 16, 21, 255] {
        header[20..24].copy_from_slice(&[0, 0, 0, bits]);
        header[100..104].copy_from_slice(&[0, 0, 0, 104]);
        fs::write(images.path("disk.qcow2"), &header).expect("written");
        let program = env!("CARGO_BIN_EXE_bivouac");
        let line = format!("ulimit -v 65536; exec {program} chain disk.qcow2");
        let output = images.command(["sh", "-c", &line]);
        assert_eq!(output.status.code(), Some(125));
    }
}
