//! The known attacks, each with an image made for it: none of them gets a host file read as
//! a disk, and none of them is answered slowly.

use super::Images;
use std::fs;
use std::time::{Duration, Instant};

/// The refusal, which has to come at once.
fn refused_at_once(images: &Images, words: &[&str]) -> String {
    let start = Instant::now();
    let text = images.refused(words);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    text
}

#[test]
fn cve_2008_2004_a_raw_disk_that_turned_into_a_qcow2_header_is_not_believed() {
    let images = Images::new();
    fs::write(images.path("secret"), "secret\n".repeat(100)).expect("written");
    let secret = images.path("secret");
    images.recording("disk.raw", secret.to_str().expect("UTF-8"), Some("raw"));
    insta::assert_snapshot!("cve_2008_2004", refused_at_once(&images, &["disk.raw"]));
    // The mend that treats it as the raw disk it was never looks at the name.
    let tree = images.accepted(&["disk.raw", "--format", "raw"]);
    assert!(!tree.contains("secret"), "{tree}");
}

#[test]
fn cve_2010_3851_a_lower_layer_without_a_recorded_format_is_not_probed() {
    let images = Images::new();
    images.recording("base.raw", "/etc/passwd", Some("raw"));
    images.recording("top.qcow2", "base.raw", None);
    insta::assert_snapshot!("cve_2010_3851", refused_at_once(&images, &["top.qcow2"]));
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
    insta::assert_snapshot!("vmdk_descriptor", refused_at_once(&images, &["flat.vmdk"]));
    // The same under a raw name, and with blank lines in front but told to be a vmdk.
    fs::write(images.path("flat.raw"), descriptor).expect("written");
    insta::assert_snapshot!(
        "vmdk_descriptor_as_raw",
        refused_at_once(&images, &["flat.raw"])
    );
    fs::write(images.path("blank"), format!("\n\n{descriptor}")).expect("written");
    let told = refused_at_once(&images, &["blank", "--format", "vmdk"]);
    assert!(told.contains("a vmdk descriptor"), "{told}");

    images.shell("qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse two.vmdk 3G");
    let two = refused_at_once(&images, &["two.vmdk"]);
    assert!(two.contains("a vmdk descriptor"), "{two}");
    insta::assert_snapshot!("vmdk_extent", refused_at_once(&images, &["two-s001.vmdk"]));
}

#[test]
fn cve_2022_47951_an_embedded_vmdk_descriptor_that_names_files_is_refused() {
    let images = Images::new();
    let make = || {
        images.shell("qemu-img create -q -f vmdk disk.vmdk 10M");
        fs::read_to_string(images.path("disk.vmdk")).unwrap_or_default();
        let bytes = fs::read(images.path("disk.vmdk")).expect("read");
        let text = bytes[512..512 * 21]
            .split(|byte| *byte == 0)
            .next()
            .expect("text");
        String::from_utf8(text.to_vec()).expect("the descriptor is text")
    };
    let plant = |text: String| {
        let mut bytes = text.into_bytes();
        bytes.resize(512 * 20, 0);
        images.patch("disk.vmdk", 512, &bytes);
        refused_at_once(&images, &["disk.vmdk"])
    };
    let text = make();
    insta::assert_snapshot!(
        "vmdk_type",
        plant(text.replace("monolithicSparse", "monolithicFlat"))
    );
    let other = plant(text.replace("\"disk.vmdk\"", "\"/etc/passwd\""));
    insta::assert_snapshot!("vmdk_names_file", other);
    let two = plant(format!("{text}\nRW 20480 FLAT \"x-flat.vmdk\" 0\n"));
    assert!(two.contains("x-flat.vmdk"), "{two}");
    let parent = plant(format!("{text}\nparentFileNameHint=\"/etc/passwd\"\n"));
    insta::assert_snapshot!("vmdk_parent_hint", parent);
    let child = plant(text.replace("parentCID=ffffffff", "parentCID=12345678"));
    insta::assert_snapshot!("vmdk_parent", child);
    // Capacity 0 makes QEMU obey the descriptor instead of the header.
    make();
    images.patch("disk.vmdk", 12, &[0; 8]);
    insta::assert_snapshot!("vmdk_capacity_0", refused_at_once(&images, &["disk.vmdk"]));
    images.shell("qemu-img create -q -f vmdk disk.vmdk 10M");
    images.accepted(&["disk.vmdk"]);
}

#[test]
fn cve_2024_32498_a_data_file_is_refused_in_every_layer() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow2 -o data_file=x.raw,data_file_raw=on base.qcow2 1M");
    // The name as an attacker would have it.
    let header = fs::read(images.path("base.qcow2")).expect("read");
    let at = header
        .windows(5)
        .position(|bytes| bytes == b"x.raw")
        .expect("the name");
    images.patch("base.qcow2", at as u64, b"/e/pw");
    images.over("base.qcow2", "top.qcow2");
    insta::assert_snapshot!("cve_2024_32498", refused_at_once(&images, &["top.qcow2"]));
}

#[test]
fn cve_2024_40767_raw_told_and_header_found_follows_nothing() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow2 -o data_file=x.raw,data_file_raw=on upload 1M");
    let json = images.json(&["upload", "--format", "raw"]);
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(1));
    assert!(json["layers"][0]["backing"].is_null());
}

#[test]
fn cve_2024_4467_a_json_data_file_is_refused_and_shown_escaped() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow2 -o data_file=x.raw,data_file_raw=on disk.qcow2 1M");
    let name = b"DATA\0\0\0\x19json:{\"driver\":\"nbd\x1b[2J\"}";
    let header = fs::read(images.path("disk.qcow2")).expect("read");
    let at = header
        .windows(4)
        .position(|bytes| bytes == b"DATA")
        .expect("the extension");
    images.patch("disk.qcow2", at as u64, name);
    insta::assert_snapshot!("cve_2024_4467", refused_at_once(&images, &["disk.qcow2"]));
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
        let text = refused_at_once(&images, &[name]).replace(&format!("{name}\""), "[name]\"");
        insta::assert_snapshot!("iso_with_header", text);
        images.accepted(&[name, "--format", "raw"]);
    }
    images.raw("plain.iso");
    images.patch("plain.iso", 32769, b"CD001");
    images.accepted(&["plain.iso"]);
}

#[test]
fn differencing_images_that_name_their_parent_are_refused() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vdi disk.vdi 10M");
    images.patch("disk.vdi", 0x1a8, &[7; 16]);
    insta::assert_snapshot!("vdi_parent", refused_at_once(&images, &["disk.vdi"]));
    images.shell("qemu-img create -q -f vpc disk.vhd 10M");
    images.patch("disk.vhd", 60, &4_u32.to_be_bytes());
    insta::assert_snapshot!("vpc_parent", refused_at_once(&images, &["disk.vhd"]));
    images.raw("base.raw");
    images.shell("qemu-img create -q -f qed -F raw -b base.raw disk.qed");
    insta::assert_snapshot!("qed_parent", refused_at_once(&images, &["disk.qed"]));
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
