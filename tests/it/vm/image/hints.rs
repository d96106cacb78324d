//! The hints that are commands, run as they are printed: afterwards the chain is accepted.

use std::fs;

use super::Images;

/// Runs the hint of the first problem, which has to hint something.
fn hint_once(images: &Images, image: &str) {
    let hint = images.hint(&[image]);
    assert!(hint.starts_with("qemu-img rebase -u "), "{hint}");
    images.shell(&hint);
}

#[test]
fn a_moved_chain_is_fixed_by_the_command_that_is_printed() {
    let images = Images::new();
    fs::create_dir(images.path("old")).expect("a directory");
    images.raw("old/ba se:1.raw");
    let base = images.path("old/ba se:1.raw");
    let base = base.to_str().expect("UTF-8");
    images.shell(&format!(
        "qemu-img create -q -f qcow2 -F raw -b '{base}' old/mid.qcow2"
    ));
    let mid = images.path("old/mid.qcow2");
    images.over(mid.to_str().expect("UTF-8"), "old/top.qcow2");
    images.accepted(&["old/top.qcow2"]);
    fs::rename(images.path("old"), images.path("new")).expect("moved");

    insta::assert_snapshot!("moved_chain", images.refused(&["new/top.qcow2"]));
    hint_once(&images, "new/top.qcow2");
    hint_once(&images, "new/top.qcow2");
    images.accepted(&["new/top.qcow2"]);
    let info = images.shell("qemu-img info --backing-chain new/top.qcow2");
    assert!(info.contains("ba se:1.raw"), "QEMU finds it too: {info}");
}

#[test]
fn missing_formats_are_fixed_by_the_commands_that_are_printed() {
    let images = Images::new();
    images.raw("base.raw");
    images.recording("mid.qcow2", "base.raw", None);
    images.recording("it's top.qcow2", "mid.qcow2", None);
    hint_once(&images, "it's top.qcow2");
    hint_once(&images, "it's top.qcow2");
    images.accepted(&["it's top.qcow2"]);
}

#[test]
fn a_wrong_or_unknown_format_is_fixed_by_the_command_that_is_printed() {
    let images = Images::new();
    images.raw("base.raw");
    for recorded in ["qcow2", "host_device"] {
        images.recording("top.qcow2", "base.raw", Some(recorded));
        hint_once(&images, "top.qcow2");
        images.accepted(&["top.qcow2"]);
    }
}

#[test]
fn an_old_qcow_image_is_fixed_by_conversion() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow old.qcow 1M");
    images.shell(&images.hint(&["old.qcow"]));
    images.accepted(&["old-flat.qcow2"]);
}

#[test]
fn a_backing_file_in_the_first_version_is_fixed_by_the_command_that_is_printed() {
    let images = Images::new();
    for recorded in [Some("qcow"), Some("qcow2"), None] {
        images.shell("rm -f *-flat*; qemu-img create -q -f qcow old.qcow 1M");
        images.recording("top.qcow2", "old.qcow", recorded);
        images.shell(&images.hint(&["top.qcow2"]));
        let info = images.shell("qemu-img info --backing-chain top.qcow2");
        assert!(info.contains("old-flat.qcow2"), "{recorded:?}: {info}");
        images.accepted(&["top.qcow2"]);
    }
}

#[test]
fn what_was_packed_by_each_tool_is_unpacked_by_the_command_that_is_printed() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow2 disk 4M");
    for (pack, extension) in [
        ("gzip -c disk", "gz"),
        ("xz -c disk", "xz"),
        ("xz --format=lzma -c disk", "lzma"),
        ("zstd -q -c disk", "zst"),
        ("lz4 -q -c disk", "lz4"),
        ("lz4 -q -l -c disk", "lz4"),
    ] {
        for name in ["cloud.img", "cloud", "cloud.qcow2"] {
            images.shell(&format!("{pack} > {name}"));
            assert!(
                images
                    .refused_by_chain(&[name])
                    .contains(": a disk image has to be unpacked")
            );
            images.shell(&images.hint(&[name]));
            images.accepted(&["cloud-unpacked.img"]);
            images.shell("rm cloud*");
        }
        images.shell(&format!("{pack} > cloud.{extension}"));
        images.shell(&images.hint(&[&format!("cloud.{extension}")]));
        images.accepted(&["cloud"]);
        images.shell("rm cloud*");
    }
    for pack in ["tar -cf box disk", "echo disk | cpio -o -H newc -O box"] {
        images.shell(pack);
        images.shell(&format!(
            "mkdir in; cd in; {}; cmp disk ../disk",
            images.hint(&["box"])
        ));
        images.shell("rm -r in box");
    }
}

#[test]
fn a_data_file_and_a_split_vmdk_are_fixed_by_conversion() {
    let images = Images::new();
    images.shell("qemu-img create -q -f qcow2 -o data_file=x.raw,data_file_raw=on d.qcow2 1M");
    images.shell(&images.hint(&["d.qcow2"]));
    images.accepted(&["d-flat.qcow2"]);
    images.shell("qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse two.vmdk 10M");
    images.shell(&images.hint(&["two.vmdk"]));
    images.accepted(&["two.qcow2"]);
}
