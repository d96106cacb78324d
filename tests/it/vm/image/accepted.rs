//! Images that qemu-img makes, of every format and feature: accepted, with QEMU's virtual size.

use std::fs;

use super::{Images, layers};

#[test]
fn qcow2_of_every_version_and_feature_is_accepted() {
    let images = Images::new();
    for options in [
        "compat=0.10",
        "compat=1.1",
        "compat=1.1,lazy_refcounts=on",
        "compat=1.1,refcount_bits=1",
        "compression_type=zstd",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "cluster_size=512",
        "cluster_size=2M",
        "preallocation=metadata",
    ] {
        images.shell(&format!(
            "qemu-img create -q -f qcow2 -o {options} disk.qcow2 100M"
        ));
        let json = images.json(&["disk.qcow2"]);
        assert_eq!(json["accepted"], true, "{options}: {json}");
        assert_eq!(json["virtual_size"], 100 << 20, "{options}");
        assert_eq!(
            json["layers"][0]["warnings"],
            serde_json::json!([]),
            "{options}"
        );
    }
    images.shell("qemu-img snapshot -c one disk.qcow2 && qemu-img bitmap --add disk.qcow2 b");
    assert!(!images.accepted(&["disk.qcow2"]).contains("warning"));
}

#[test]
fn other_formats_are_accepted_as_single_files_with_qemus_virtual_size() {
    let images = Images::new();
    for (name, format, options) in [
        ("disk.vmdk", "vmdk", "subformat=monolithicSparse"),
        ("stream.vmdk", "vmdk", "subformat=streamOptimized"),
        ("disk.vdi", "vdi", "static=off"),
        ("static.vdi", "vdi", "static=on"),
        ("disk.vhdx", "vhdx", "subformat=dynamic"),
        ("fixed.vhdx", "vhdx", "subformat=fixed"),
        ("disk.vhd", "vpc", "subformat=dynamic,force_size=on"),
        ("fixed.vhd", "vpc", "subformat=fixed,force_size=on"),
        ("disk.qed", "qed", "cluster_size=64k"),
        ("disk.hds", "parallels", "cluster_size=1M"),
    ] {
        images.shell(&format!(
            "qemu-img create -q -f {format} -o {options} {name} 70M"
        ));
        let info = images.shell(&format!("qemu-img info -f {format} --output=json {name}"));
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        let json = images.json(&[name]);
        assert_eq!(json["accepted"], true, "{name}: {json}");
        assert_eq!(layers(&json), [format!("{format} content")], "{name}");
        assert_eq!(json["virtual_size"], info["virtual-size"], "{name}");
        assert_eq!(
            json["layers"][0]["warnings"],
            serde_json::json!([]),
            "{name}"
        );
    }
    // A stream that was written, not only created, has its header at the end.
    images.raw("full.raw");
    images.shell("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized full.raw full.vmdk");
    assert_eq!(images.json(&["full.vmdk"])["virtual_size"], 1 << 20);
}

#[test]
fn relative_names_start_at_the_spelled_directory_of_each_layer() {
    let images = Images::new();
    fs::create_dir(images.path("real")).expect("a directory");
    fs::create_dir(images.path("spelled")).expect("a directory");
    images.raw("spelled/base.raw");
    images.recording("real/top.qcow2", "base.raw", Some("raw"));
    std::os::unix::fs::symlink("../real/top.qcow2", images.path("spelled/top.qcow2"))
        .expect("a link");
    let json = images.json(&["spelled/top.qcow2"]);
    assert_eq!(json["accepted"], true, "{json}");
    let info = images.shell("qemu-img info --backing-chain --output=json spelled/top.qcow2");
    assert!(info.contains("spelled/base.raw"), "QEMU agrees: {info}");
    assert!(images.refused(&["real/top.qcow2"]).contains("cannot find"));
}
