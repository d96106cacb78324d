//! Headers of the formats other than qcow2, made by hand: the size that QEMU gives the disk, and
//! what QEMU would refuse. `vm::image::limits` holds both against qemu-img.

use std::fs;

use super::Images;

/// A dynamic VHD with blocks of 2 MiB, none of which is there: its geometry is 10 sectors smaller
/// than its current size.
fn vhd(creator: &[u8; 4]) -> Vec<u8> {
    let mut image = vec![0; 4096];
    let sectors = 100 * 16 * 63_u64;
    let entries = (sectors * 512).div_ceil(2 << 20) as u32 + 1;
    image[..8].copy_from_slice(b"conectix");
    image[16..24].copy_from_slice(&512_u64.to_be_bytes());
    image[28..32].copy_from_slice(creator);
    image[48..56].copy_from_slice(&((sectors + 10) * 512).to_be_bytes());
    image[56..60].copy_from_slice(&[0, 100, 16, 63]);
    image[60..64].copy_from_slice(&3_u32.to_be_bytes());
    image[512..520].copy_from_slice(b"cxsparse");
    image[528..536].copy_from_slice(&1536_u64.to_be_bytes());
    image[540..544].copy_from_slice(&entries.to_be_bytes());
    image[544..548].copy_from_slice(&(2_u32 << 20).to_be_bytes());
    image[1536..][..entries as usize * 4].fill(0xff);
    sign(&mut image);
    image
}

/// Sets the checksum of the footer at the start.
fn sign(image: &mut [u8]) {
    image[64..68].fill(0);
    let sum: u32 = image[..512].iter().copied().map(u32::from).sum();
    image[64..68].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn the_size_of_a_vhd_depends_on_the_program_that_made_it() {
    let images = Images::new();
    let geometry = 100 * 16 * 63 * 512;
    for (creator, size, is_lost) in [
        (b"vpc ", geometry, false),
        (b"qemu", geometry, false),
        (b"qem2", geometry + 5120, false),
        (b"win ", geometry + 5120, false),
        (b"tap\0", geometry + 5120, false),
        (b"vbox", geometry + 5120, true),
    ] {
        fs::write(images.path("disk.vhd"), vhd(creator)).expect("written");
        let json = images.json(&["disk.vhd"]);
        assert_eq!(json["virtual_size"], size, "{creator:?}: {json}");
        let warnings = json["layers"][0]["warnings"].as_array().expect("warnings");
        assert_eq!(!warnings.is_empty(), is_lost, "{creator:?}: {warnings:?}");
    }
    insta::assert_snapshot!(
        "vhd_of_virtualbox",
        images
            .accepted(&["disk.vhd"])
            .replace("4 KiB on disk", "[size] on disk")
    );
}

#[test]
fn a_geometry_that_is_the_largest_says_nothing_about_the_size() {
    let images = Images::new();
    let mut image = vhd(b"vpc ");
    image[48..56].copy_from_slice(&(200_u64 << 30).to_be_bytes());
    image[56..60].copy_from_slice(&[0xff, 0xff, 16, 255]);
    image[540..544].copy_from_slice(&102_400_u32.to_be_bytes());
    image.resize(1 << 20, 0xff);
    image[1536..].fill(0xff);
    sign(&mut image);
    fs::write(images.path("disk.vhd"), image).expect("written");
    assert_eq!(images.json(&["disk.vhd"])["virtual_size"], 200_u64 << 30);
}

#[test]
fn a_vhd_that_qemu_would_refuse_is_refused() {
    let images = Images::new();
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 7] = [
        ("vhd_cut_off", |image| image.truncate(1024)),
        ("vhd_table_cut_off", |image| image.truncate(1600)),
        ("vhd_block_cut_off", |image| image[1536..1540].fill(0)),
        ("vhd_huge_table", |image| image[540..544].fill(0x7f)),
        ("vhd_small_table", |image| image[543] = 1),
        ("vhd_block_size", |image| image[547] = 1),
        ("vhd_checksum", |image| image[64] ^= 1),
    ];
    for (name, damage) in cases {
        let mut image = vhd(b"win ");
        damage(&mut image);
        fs::write(images.path("disk.vhd"), &image).expect("written");
        insta::assert_snapshot!(name, images.refused(&["disk.vhd"]));
    }
}

/// A QED image of 64 MiB with clusters of 4 KiB and tables of two.
fn qed() -> Vec<u8> {
    let mut image = vec![0; 3 * 4096];
    image[..4].copy_from_slice(b"QED\0");
    for (at, value) in [(4, 4096_u32), (8, 2), (12, 1), (40, 4096), (48, 64 << 20)] {
        image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    image
}

#[test]
fn a_qed_image_that_qemu_would_refuse_is_refused() {
    let images = Images::new();
    fs::write(images.path("disk.qed"), qed()).expect("written");
    assert_eq!(images.json(&["disk.qed"])["virtual_size"], 64 << 20);
    for (name, at, value) in [
        ("qed_cluster_size", 4, 2048_u32),
        ("qed_table_size", 8, 32),
        ("qed_header_size", 12, u32::MAX),
        ("qed_features", 16, 8),
        ("qed_l1_table", 40, 4097),
        ("qed_l1_table_cut_off", 40, 8192),
        ("qed_disk_size", 48, 513),
    ] {
        let mut image = qed();
        image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(images.path("disk.qed"), &image).expect("written");
        insta::assert_snapshot!(name, images.refused(&["disk.qed"]));
    }
}

#[test]
fn a_parallels_image_that_qemu_would_refuse_is_refused() {
    let images = Images::new();
    for (name, at, value) in [
        ("parallels_no_tracks", 28, 0_u32),
        ("parallels_tracks", 28, u32::MAX),
        ("parallels_catalog", 32, u32::MAX),
        ("parallels_extension", 56, 1),
    ] {
        let mut image = vec![0; 4096];
        image[..16].copy_from_slice(b"WithouFreSpacExt");
        for (at, value) in [
            (16, 2_u32),
            (28, 2048),
            (32, 64),
            (36, 131_072),
            (at, value),
        ] {
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(images.path("disk.hds"), &image).expect("written");
        insta::assert_snapshot!(name, images.refused(&["disk.hds"]));
    }
}

#[test]
fn a_vdi_image_that_qemu_would_refuse_is_refused() {
    let images = Images::new();
    let good = [
        (0x40, 0xbeda_107f_u32),
        (0x44, 0x0001_0001),
        (0x4c, 1),
        (0x154, 512),
        (0x158, 1024),
        (0x168, 512),
        (0x170, 64 << 20),
        (0x178, 1 << 20),
        (0x180, 64),
    ];
    for (name, at, value) in [
        ("vdi_good", 0x50, 0),
        ("vdi_map_offset", 0x154, 100),
        ("vdi_sector_size", 0x168, 4096),
        ("vdi_block_size", 0x178, 1 << 19),
        ("vdi_blocks", 0x180, 63),
        ("vdi_too_many_blocks", 0x180, u32::MAX),
    ] {
        let mut image = vec![0; 4096];
        for (at, value) in good.into_iter().chain([(at, value)]) {
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(images.path("disk.vdi"), &image).expect("written");
        match name {
            "vdi_good" => assert_eq!(images.json(&["disk.vdi"])["virtual_size"], 64 << 20),
            _ => insta::assert_snapshot!(name, images.refused(&["disk.vdi"])),
        }
    }
}

#[test]
fn a_table_of_qcow2_that_no_file_reaches_is_refused() {
    let images = Images::new();
    for (name, at) in [("l1_too_far", 40), ("refcount_table_too_far", 48)] {
        images.qcow2("disk.qcow2");
        images.patch("disk.qcow2", at, &0x7fff_ffff_ffff_0000_u64.to_be_bytes());
        insta::assert_snapshot!(name, images.refused(&["disk.qcow2"]));
    }
}

#[test]
fn a_backing_file_in_the_first_version_of_qcow_is_to_be_converted() {
    let images = Images::new();
    let mut old = vec![0; 4096];
    old[..8].copy_from_slice(b"QFI\xfb\0\0\0\x01");
    fs::write(images.path("old.qcow"), old).expect("written");
    for (name, recorded) in [
        ("backing_qcow", Some("qcow")),
        ("backing_qcow_as_qcow2", Some("qcow2")),
        ("backing_qcow_not_recorded", None),
    ] {
        images.recording("top.qcow2", "old.qcow", recorded);
        insta::assert_snapshot!(name, images.refused(&["top.qcow2"]));
    }
    images.recording("top.qcow2", "mac.dmg", Some("dmg"));
    images.raw("mac.dmg");
    insta::assert_snapshot!("backing_dmg", images.refused(&["top.qcow2"]));
    // What is recorded as qcow may be none.
    images.recording("top.qcow2", "base.raw", Some("qcow"));
    images.raw("base.raw");
    insta::assert_snapshot!("backing_not_qcow", images.refused(&["top.qcow2"]));
}
