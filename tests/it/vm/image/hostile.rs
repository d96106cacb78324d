//! The known attacks on images that qemu-img makes: files named by vmdk descriptors, data files,
//! differencing images.

use std::fs;

use super::Images;

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
        images.refused(&["disk.vmdk"])
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
    insta::assert_snapshot!("vmdk_capacity_0", images.refused(&["disk.vmdk"]));
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
    insta::assert_snapshot!("cve_2024_32498", images.refused(&["top.qcow2"]));
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
    insta::assert_snapshot!("cve_2024_4467", images.refused(&["disk.qcow2"]));
}

#[test]
fn differencing_images_that_name_their_parent_are_refused() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vdi disk.vdi 10M");
    images.patch("disk.vdi", 0x1a8, &[7; 16]);
    insta::assert_snapshot!("vdi_parent", images.refused(&["disk.vdi"]));
    images.shell("qemu-img create -q -f vpc disk.vhd 10M");
    images.patch("disk.vhd", 60, &4_u32.to_be_bytes());
    insta::assert_snapshot!("vpc_parent", images.refused(&["disk.vhd"]));
    images.raw("base.raw");
    images.shell("qemu-img create -q -f qed -F raw -b base.raw disk.qed");
    insta::assert_snapshot!("qed_parent", images.refused(&["disk.qed"]));
}

#[test]
fn cve_2022_47951_a_vmdk_of_several_files_is_refused() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse two.vmdk 3G");
    let two = images.refused(&["two.vmdk"]);
    assert!(two.contains("a vmdk descriptor"), "{two}");
    insta::assert_snapshot!("vmdk_extent", images.refused(&["two-s001.vmdk"]));
}
