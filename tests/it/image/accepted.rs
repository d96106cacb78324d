//! Every shape of chain that is accepted, and what is said of it.

use super::{Images, layers};

#[test]
fn a_chain_of_three_is_shown_as_a_tree() {
    let images = Images::new();
    images.raw("base.img");
    images.recording("mid.qcow2", "base.img", Some("raw"));
    images.over(
        images.path("mid.qcow2").to_str().expect("UTF-8"),
        "top.qcow2",
    );
    let tree = images.accepted(&["top.qcow2"]);
    insta::with_settings!({filters => vec![(r"[0-9.]+ [KM]iB on disk", "[size] on disk")]}, {
        insta::assert_snapshot!("tree_of_three", tree);
    });
}

#[test]
fn json_says_all_that_the_tree_says() {
    let images = Images::new();
    images.raw("base.img");
    images.recording("mid.qcow2", "base.img", Some("raw"));
    images.over("mid.qcow2", "top.qcow2");
    let mut json = images.json(&["top.qcow2"]);
    for layer in json["layers"].as_array_mut().expect("layers") {
        let dir = images.dir().to_str().expect("UTF-8");
        let text = layer["path"]
            .as_str()
            .expect("a path")
            .replace(dir, "[dir]");
        layer["path"] = text.into();
        if let Some(resolved) = layer["backing"]["resolved"].as_str() {
            layer["backing"]["resolved"] = resolved.replace(dir, "[dir]").into();
        }
        layer["actual_size"] = "[size]".into();
        for field in ["dev", "ino", "size", "mtime", "mtime_nsec"] {
            assert!(layer["identity"][field].is_i64(), "{field}");
            layer["identity"][field] = "[number]".into();
        }
    }
    insta::assert_json_snapshot!("json_of_three", json);
}

#[test]
fn a_dirty_image_is_accepted_and_a_corrupt_one_with_a_warning() {
    let images = Images::new();
    images.qcow2("disk.qcow2");
    images.patch("disk.qcow2", 79, &[1]);
    assert!(!images.accepted(&["disk.qcow2"]).contains("warning"));
    images.patch("disk.qcow2", 79, &[2]);
    let tree = images.accepted(&["disk.qcow2"]);
    assert!(tree.contains("warning: marked as corrupt"), "{tree}");
}

#[test]
fn a_header_longer_than_the_first_read_is_read_whole() {
    let images = Images::new();
    images.qcow2("top.qcow2");
    images.raw("base.raw");
    // Behind an extension of 20 kB come the format and the name.
    images.patch("top.qcow2", 112, &0x1122_3344_u32.to_be_bytes());
    images.patch("top.qcow2", 116, &20000_u32.to_be_bytes());
    images.patch("top.qcow2", 20120, b"\xe2\x79\x2a\xca\0\0\0\x03raw");
    images.patch("top.qcow2", 60000, b"base.raw");
    images.patch("top.qcow2", 8, &60000_u64.to_be_bytes());
    images.patch("top.qcow2", 16, &8_u32.to_be_bytes());
    assert_eq!(
        layers(&images.json(&["top.qcow2"])),
        ["qcow2 content", "raw recorded"]
    );
}

#[test]
fn a_colon_behind_a_slash_and_a_file_prefix_are_plain_names() {
    let images = Images::new();
    images.raw("a:b.raw");
    images.recording("top.qcow2", "./a:b.raw", Some("raw"));
    images.accepted(&["top.qcow2"]);
    let path = images.path("a:b.raw");
    let path = path.to_str().expect("UTF-8");
    images.recording("file.qcow2", &format!("file:{path}"), Some("raw"));
    images.accepted(&["file.qcow2"]);
    // What a user types is a path, whatever is in it.
    images.accepted(&["a:b.raw"]);
}

#[test]
fn a_layer_declared_raw_with_a_qcow2_header_stays_raw_with_a_warning() {
    let images = Images::new();
    images.qcow2("base.img");
    images.recording("top.qcow2", "base.img", Some("raw"));
    let json = images.json(&["top.qcow2"]);
    assert_eq!(layers(&json), ["qcow2 content", "raw recorded"]);
    let warning = json["layers"][1]["warnings"][0]
        .as_str()
        .expect("a warning");
    assert_eq!(
        warning,
        "declared as raw and read as raw, but its content starts like a qcow2 image"
    );
}

#[test]
fn stated_layers_replace_what_the_headers_record() {
    let images = Images::new();
    images.raw("base.raw");
    images.recording("mid.qcow2", "base.raw", Some("raw"));
    images.recording("top.qcow2", "nbd:nowhere", None);
    // What is not stated is resolved from the last stated layer's own header.
    let json = images.json(&["top.qcow2", "--backing", "qcow2:mid.qcow2"]);
    assert_eq!(
        layers(&json),
        ["qcow2 content", "qcow2 stated", "raw recorded"]
    );
    let ended = [
        "top.qcow2",
        "--backing",
        "qcow2:mid.qcow2",
        "--backing",
        "none",
    ];
    let json = images.json(&ended);
    assert_eq!(layers(&json), ["qcow2 content", "qcow2 stated"]);
    assert_eq!(
        json["layers"][1]["warnings"][0],
        r#"its header records the backing file "base.raw", which --backing leaves out"#
    );
    let json = images.json(&["top.qcow2", "--format", "raw"]);
    assert_eq!(layers(&json), ["raw flag"]);
    images.qcow2("alone.qcow2");
    let json = images.json(&["alone.qcow2", "--backing", "raw:base.raw"]);
    assert!(
        json["layers"][0]["warnings"][0]
            .as_str()
            .is_some_and(|text| text.contains("puts one under it"))
    );
}

#[test]
fn a_chain_of_64_layers_is_accepted() {
    let images = Images::new();
    images.qcow2("0");
    for layer in 1..64 {
        images.recording(&layer.to_string(), &(layer - 1).to_string(), Some("qcow2"));
    }
    assert_eq!(layers(&images.json(&["63"])).len(), 64);
}
