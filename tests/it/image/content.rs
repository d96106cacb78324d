//! Which file it is: packed content under any name, and cloud images, whose name says raw.

use super::{Images, layers};
use std::fs;

/// Words of every command that takes an image, where `IMAGE` stands for it.
const COMMANDS: &[&str] = &[
    "chain IMAGE",
    "inspect IMAGE",
    "ls IMAGE:/",
    "cat IMAGE:/etc/hostname",
    "cp IMAGE:/etc/hostname copy",
    "df IMAGE",
    "tail IMAGE:/etc/hostname",
    "chroot IMAGE -- true",
    "run IMAGE",
    "run IMAGE -- true",
    "run --warm IMAGE -- true",
    "template build IMAGE",
];

#[test]
fn packed_content_is_refused_by_every_command_under_any_name() {
    let images = Images::new();
    images.qcow2("disk");
    images.shell("gzip -c disk > disk.raw; tar -cf disk.img disk; printf '<html>' > disk.qcow2");
    let programs = [
        ("disk.raw", "compressed with gzip", "gzip -dc < "),
        ("disk.img", "a tar archive", "tar -xf "),
    ];
    for (name, what, hint) in programs {
        // The others decompress an image.
        let is_compressed = what.starts_with("compressed");
        let shows = |command: &&&str| !is_compressed || command.starts_with("chain");
        for command in COMMANDS.iter().filter(shows) {
            let words = command.replace("IMAGE", name);
            let line = format!("exec {} {words} </dev/null", env!("CARGO_BIN_EXE_bivouac"));
            let answer = images.answer(images.command(["sh", "-c", &line]));
            let said = answer.stdout + &answer.stderr;
            assert_eq!(answer.status, 125, "{words}: {said}");
            assert!(
                said.contains(what) && said.contains(&format!("hint: {hint}")),
                "{said}"
            );
        }
        images.accepted(&[name, "--format", "raw"]);
    }
    insta::assert_snapshot!("packed_gzip", images.refused_by_chain(&["disk.raw"]));
    insta::assert_snapshot!("packed_tar", images.refused(&["disk.img"]));
    insta::assert_snapshot!("web_page", images.refused(&["disk.qcow2"]));
    insta::assert_snapshot!(
        "packed_stated_otherwise",
        images.refused(&["disk.raw", "--format", "vmdk"])
    );
    images.shell(&images.hint(&["disk.raw"]));
    images.accepted(&["disk-unpacked.img"]);
    images.shell("mv disk.raw disk2.gz");
    images.shell(&images.hint(&["disk2.gz"]));
    images.accepted(&["disk2"]);
}

#[test]
fn an_ova_and_an_apple_image_are_named() {
    let images = Images::new();
    images.raw("box.vmdk");
    images.shell("touch box.ovf; tar -cf box box.ovf box.vmdk");
    insta::assert_snapshot!("ova", images.refused(&["box"]));
    images.patch("box.vmdk", (1 << 20) - 512, b"koly\0\0\0\x04\0\0\x02\0");
    fs::rename(images.path("box.vmdk"), images.path("mac.img")).expect("renamed");
    insta::assert_snapshot!("dmg", images.refused(&["mac.img"]));
}

#[test]
fn only_content_counts_not_a_name_that_promises_a_packed_file() {
    let images = Images::new();
    images.raw("disk.xz");
    images.accepted(&["disk.xz"]);
}

#[test]
fn a_packed_lower_layer_is_said_to_be_one() {
    let images = Images::new();
    images.raw("disk");
    images.shell("gzip disk");
    images.recording("top.qcow2", "disk.gz", Some("raw"));
    let tree = images.accepted(&["top.qcow2"]);
    assert!(
        tree.contains("warning: declared as raw and read as raw, but it is compressed with gzip"),
        "{tree}"
    );
    images.recording("top.qcow2", "disk.gz", Some("qcow2"));
    insta::assert_snapshot!("packed_below", images.refused(&["top.qcow2"]));
}

#[test]
fn a_qcow2_image_that_names_no_file_is_accepted_under_any_name_but_raw() {
    let images = Images::new();
    for name in ["cloud.img", "cloud.IMG", "cloud.iso", "cloud.vmdk", "cloud"] {
        images.qcow2(name);
        assert_eq!(layers(&images.json(&[name])), ["qcow2 content"], "{name}");
    }
    let verbose = images.chain(&["-v", "cloud.img"]);
    assert_eq!(verbose.status, 0);
    insta::assert_snapshot!("cloud_image_verbose", verbose.stderr);
    assert_eq!(images.chain(&["-v", "cloud"]).stderr, "");
    // As a further disk, too.
    images.raw("first.raw");
    let program = env!("CARGO_BIN_EXE_bivouac");
    let line = format!(
        "{program} -v run --dry-run --overlay memory --accel tcg --qemu /bin/true \
         --disk cloud.img first.raw"
    );
    let answer = images.answer(images.command(["sh", "-c", &line]));
    assert_eq!(answer.status, 0, "{}", answer.stderr);
    assert!(
        answer.stdout.contains(r#""driver":"qcow2""#),
        "{}",
        answer.stdout
    );
    assert!(
        answer.stderr.contains("cloud.img\" is named like a raw"),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_qcow2_image_that_names_a_file_is_not_believed_under_a_raw_name() {
    let images = Images::new();
    images.raw("base.raw");
    images.recording("disk.img", "base.raw", Some("raw"));
    insta::assert_snapshot!("raw_name_with_backing", images.refused(&["disk.img"]));
    // No name, but an offset of one: QEMU reads an empty name there.
    images.qcow2("disk.img");
    images.patch("disk.img", 8, &1024_u64.to_be_bytes());
    images.refused(&["disk.img"]);
    // A data file: incompatible bit 2.
    images.qcow2("disk.img");
    images.patch("disk.img", 79, &[4]);
    insta::assert_snapshot!("raw_name_with_data_file", images.refused(&["disk.img"]));
}
