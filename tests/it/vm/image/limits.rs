//! The formats other than qcow2 against qemu-img: what is accepted, QEMU opens, and with the same
//! size; a disk whose size two programs see differently; an image that was not closed.

use std::fs;

use super::Images;
use crate::env::random::Random;

/// Mutated headers to compare; each costs one qemu-img.
const CASES: u32 = 300;

/// A format, the options to create an image, and the parts of the file whose bytes are changed.
type Seed = (&'static str, &'static str, &'static [(usize, usize)]);

const SEEDS: [Seed; 7] = [
    ("vmdk", "subformat=monolithicSparse", &[(4, 80)]),
    ("vmdk", "subformat=streamOptimized", &[(4, 80)]),
    ("vdi", "static=off", &[(0x44, 0x1c8)]),
    (
        "vpc",
        "subformat=dynamic,force_size=on",
        &[(8, 96), (512, 552), (1536, 1544)],
    ),
    ("qed", "cluster_size=64k", &[(4, 64)]),
    ("parallels", "cluster_size=1M", &[(16, 80)]),
    (
        "vhdx",
        "subformat=dynamic",
        &[
            (64 << 10, (64 << 10) + 80),
            (192 << 10, (192 << 10) + 80),
            (2 << 20, (2 << 20) + 256),
            (3 << 20, (3 << 20) + 64),
        ],
    ),
];

#[test]
fn what_is_accepted_is_opened_by_qemu_with_the_same_size() {
    let images = Images::new();
    // Data at both ends, so that tables have entries.
    images.raw("disk.raw");
    images.patch("disk.raw", 0, &[1; 4096]);
    images.patch("disk.raw", (9 << 20) - 4096, &[2; 4096]);
    let seeds = SEEDS.map(|(format, options, parts)| {
        images.shell(&format!(
            "qemu-img convert -f raw -O {format} -o {options} disk.raw seed"
        ));
        (format, parts, fs::read(images.path("seed")).expect("read"))
    });
    let mut random = Random::or(0x6c69_6d69_7473_2121);
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..CASES {
        let (format, parts, mut image) = seeds[random.below(7) as usize].clone();
        for _ in 0..=random.below(2) {
            let (start, end) = parts[random.below(parts.len() as u64) as usize];
            image[start + random.below((end - start) as u64) as usize] = match random.below(3) {
                0 => random.below(16) as u8,
                1 => 1 << random.below(8),
                _ => random.below(256) as u8,
            };
        }
        if random.below(8) == 0 {
            image.truncate(512 + random.below(image.len() as u64 - 512) as usize);
        }
        if format == "vpc" {
            image[64..68].fill(0);
            let sum: u32 = image[..512].iter().copied().map(u32::from).sum();
            image[64..68].copy_from_slice(&(!sum).to_be_bytes());
        }
        fs::write(images.path("mutated"), &image).expect("written");
        let ours = images.json(&["mutated", "--format", format]);
        if ours["accepted"] == false {
            refused += 1;
            continue;
        }
        accepted += 1;
        let info = ["qemu-img", "info", "-f", format, "--output=json", "mutated"];
        let qemu = images.command(info);
        let said = String::from_utf8_lossy(&qemu.stderr);
        assert!(qemu.status.success(), "case {case}: {format}: {said}{ours}");
        let theirs: serde_json::Value = serde_json::from_slice(&qemu.stdout).expect("JSON");
        // An old QEMU sees another size where it does not know the creator of a VHD.
        if format != "vpc" || image[28..32] == *b"qem2" {
            assert_eq!(
                ours["virtual_size"], theirs["virtual-size"],
                "case {case}: {format}"
            );
        }
    }
    // Else nothing was compared.
    assert!(
        accepted > CASES / 5 && refused > CASES / 5,
        "{accepted}, {refused}"
    );
}

#[test]
fn a_file_that_was_cut_off_is_refused_or_said_to_be() {
    let images = Images::new();
    images.raw("disk.raw");
    for mebibyte in 0..16 {
        images.patch("disk.raw", mebibyte << 20, &[1; 4096]);
    }
    for (format, options) in [
        ("qcow2", "-o cluster_size=4k"),
        ("qcow2", "-o extended_l2=on"),
        ("qcow2", "-c"),
        ("vmdk", "-o subformat=monolithicSparse"),
        ("vmdk", "-o subformat=streamOptimized"),
        ("vdi", "-o static=off"),
        ("vdi", "-o static=on"),
        ("vpc", "-o subformat=dynamic"),
        ("vpc", "-o subformat=fixed"),
        ("qed", "-o cluster_size=4k,table_size=2"),
        ("parallels", "-o cluster_size=1M"),
        ("vhdx", "-o subformat=dynamic,block_size=1M"),
    ] {
        images.shell(&format!(
            "qemu-img convert -f raw -O {format} {options} disk.raw disk"
        ));
        let words = ["disk", "--format", format];
        let tree = images.accepted(&words);
        assert!(!tree.contains("warning"), "{format} {options}: {tree}");
        images.shell("truncate -s $(($(stat -c %s disk) / 2)) disk");
        let answer = images.chain(&words);
        let said = answer.stdout + &answer.stderr;
        assert!(
            answer.status == 125 || said.contains("warning: cut off"),
            "{format} {options}: {said}"
        );
    }
}

#[test]
fn a_vhd_of_virtual_pc_has_the_size_that_qemu_takes_from_its_geometry() {
    let images = Images::new();
    for subformat in ["dynamic", "fixed"] {
        images.shell(&format!(
            "qemu-img create -q -f vpc -o subformat={subformat},force_size=on disk.vhd 100M"
        ));
        let mut image = fs::read(images.path("disk.vhd")).expect("read");
        let end = image.len() - 512;
        let footers = if subformat == "fixed" {
            vec![end]
        } else {
            vec![0, end]
        };
        for creator in [b"vpc ", b"qemu", b"win "] {
            for &at in &footers {
                image[at + 28..at + 32].copy_from_slice(creator);
                image[at + 64..at + 68].fill(0);
                let sum: u32 = image[at..at + 512].iter().copied().map(u32::from).sum();
                image[at + 64..at + 68].copy_from_slice(&(!sum).to_be_bytes());
            }
            fs::write(images.path("disk.vhd"), &image).expect("written");
            let info = images.shell("qemu-img info -f vpc --output=json disk.vhd");
            let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
            let ours = images.json(&["disk.vhd"]);
            assert_eq!(
                ours["virtual_size"], info["virtual-size"],
                "{subformat}: {ours}"
            );
        }
    }
}

/// The checksum of vhdx, CRC-32C, of `bytes` with zeros in its own place.
fn sign(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let mut sum = u32::MAX;
    for byte in &*bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    bytes[4..8].copy_from_slice(&(!sum).to_le_bytes());
}

#[test]
fn a_vhdx_image_whose_log_has_to_be_replayed_is_refused_and_the_hint_replays_it() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vhdx disk.vhdx 64M");
    images.accepted(&["disk.vhdx"]);
    let mut image = fs::read(images.path("disk.vhdx")).expect("read");
    // The log's GUID in both headers, and an entry with it that zeroes nothing of importance.
    for at in [64 << 10, 128 << 10] {
        image[at + 48..at + 64].fill(7);
        sign(&mut image[at..at + 4096]);
    }
    let log = u64::from_le_bytes(image[65_608..65_616].try_into().expect("8 bytes")) as usize;
    let mut entry = vec![0; 4096];
    entry[..4].copy_from_slice(b"loge");
    entry[8..12].copy_from_slice(&4096_u32.to_le_bytes());
    entry[16..24].copy_from_slice(&1_u64.to_le_bytes());
    entry[24..28].copy_from_slice(&1_u32.to_le_bytes());
    entry[32..48].fill(7);
    let length = (image.len() as u64).to_le_bytes();
    entry[48..56].copy_from_slice(&length);
    entry[56..64].copy_from_slice(&length);
    entry[64..68].copy_from_slice(b"zero");
    entry[72..80].copy_from_slice(&4096_u64.to_le_bytes());
    entry[80..88].copy_from_slice(&((log as u64 + (1 << 20) - 4096).to_le_bytes()));
    entry[88..96].copy_from_slice(&1_u64.to_le_bytes());
    sign(&mut entry);
    // Not in the log's first sector: all of it is searched.
    image[log + 8192..log + 12288].copy_from_slice(&entry);
    fs::write(images.path("disk.vhdx"), &image).expect("written");

    insta::assert_snapshot!("dirty_vhdx", images.refused(&["disk.vhdx"]));
    let qemu = images.command(["qemu-img", "info", "-f", "vhdx", "disk.vhdx"]);
    let said = String::from_utf8_lossy(&qemu.stderr);
    assert!(said.contains("a log that needs to be replayed"), "{said}");

    // An entry that was not written to its end counts for nothing.
    image[log + 12287] ^= 1;
    fs::write(images.path("torn.vhdx"), &image).expect("written");
    images.accepted(&["torn.vhdx"]);
    images.shell("qemu-img info -f vhdx torn.vhdx");

    images.shell(&images.hint(&["disk.vhdx"]));
    images.accepted(&["disk.vhdx"]);
}
