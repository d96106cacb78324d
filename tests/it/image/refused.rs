//! Every image that is refused, with its own text and its own hint.

use super::Images;
use std::fs;
use std::os::unix::net::UnixListener;

/// Compares the refusal with the snapshot of that name.
macro_rules! refused {
    ($images:expr, $name:literal, $words:expr) => {
        insta::assert_snapshot!($name, $images.refused(&$words))
    };
}

#[test]
fn files_that_are_no_disks_are_refused_by_kind() {
    let images = Images::new();
    refused!(images, "missing", ["nothing.qcow2"]);
    fs::create_dir(images.path("directory")).expect("a directory");
    refused!(images, "directory", ["directory"]);
    images.shell("mkfifo fifo");
    refused!(images, "fifo", ["fifo"]);
    let _listener = UnixListener::bind(images.path("socket")).expect("a socket");
    refused!(images, "socket", ["socket"]);
    refused!(images, "char_device", ["/dev/null"]);
    fs::write(images.path("empty"), "").expect("a file");
    refused!(images, "empty", ["empty"]);
}

#[test]
fn a_fifo_in_the_middle_of_a_chain_is_refused_without_waiting_for_it() {
    let images = Images::new();
    images.shell("mkfifo fifo");
    images.recording("top.qcow2", "fifo", Some("raw"));
    refused!(images, "fifo_below", ["top.qcow2"]);
}

#[test]
fn malformed_headers_are_refused_each_by_its_rule() {
    let images = Images::new();
    let cases: [(&str, u64, &[u8]); 14] = [
        ("version", 4, &[0, 0, 0, 4]),
        (
            "backing_offset_without_length",
            8,
            &[0, 0, 0, 0, 0, 0, 4, 0],
        ),
        (
            "backing_name_too_long",
            8,
            &[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0],
        ),
        (
            "backing_name_outside",
            8,
            &[0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 9],
        ),
        ("backing_name_nul", 8, &[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 9]),
        ("cluster_bits", 20, &[0, 0, 0, 22]),
        ("no_disk", 24, &[0; 8]),
        ("disk_too_large", 24, &[255; 8]),
        ("l1_size", 36, &[255; 4]),
        ("l1_offset", 40, &[0, 0, 0, 0, 0, 0, 0, 1]),
        ("refcount_table", 56, &[255; 4]),
        ("snapshots", 60, &[255; 4]),
        ("refcount_order", 96, &[0, 0, 0, 7]),
        ("header_length", 100, &[0, 0, 0, 80]),
    ];
    for (name, at, bytes) in cases {
        images.qcow2("bad.qcow2");
        images.patch("bad.qcow2", at, bytes);
        insta::assert_snapshot!(name, images.refused(&["bad.qcow2"]));
    }
    images.qcow2("bad.qcow2");
    images.shell("truncate -s 100 bad.qcow2");
    refused!(images, "truncated", ["bad.qcow2"]);
    images.recording("bad.qcow2", "x", Some("sixteen bytes, no"));
    refused!(images, "format_name_too_long", ["bad.qcow2"]);
    images.qcow2("bad.qcow2");
    images.patch("bad.qcow2", 112, b"abcd\0\0\0\0abcd\0\0\0\0");
    refused!(images, "duplicate_extension", ["bad.qcow2"]);
    images.patch("bad.qcow2", 112, b"abcd\xff\xff\0\0");
    refused!(images, "extension_too_long", ["bad.qcow2"]);
}

#[test]
fn names_that_are_no_files_are_refused_with_the_reason() {
    let images = Images::new();
    for (snapshot, name) in [
        ("protocol_nbd", "nbd://host/export"),
        ("protocol_http", "http://host/base.qcow2"),
        ("protocol_ssh", "ssh://host/base"),
        ("protocol_rbd", "rbd:pool/image"),
        ("protocol_unknown", "a:b"),
        ("protocol_fat", "fat:rw:/etc"),
        ("json", r#"json:{"driver":"file","filename":"/etc/passwd"}"#),
        ("relative_file", "file:base.raw"),
    ] {
        images.recording("top.qcow2", name, Some("raw"));
        insta::assert_snapshot!(snapshot, images.refused(&["top.qcow2"]));
    }
}

#[test]
fn control_characters_in_names_never_reach_the_terminal() {
    let images = Images::new();
    images.recording(
        "top\x1b[31m.qcow2",
        "\x1b]0;owned\x07\n\u{202e}base",
        Some("raw"),
    );
    let text = images.refused(&["top\x1b[31m.qcow2"]);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    insta::assert_snapshot!("control_characters", text);
}

#[test]
fn formats_that_are_missing_or_unknown_are_refused() {
    let images = Images::new();
    images.raw("base.raw");
    images.recording("top.qcow2", "base.raw", None);
    refused!(images, "format_missing", ["top.qcow2"]);
    // The whole chain is looked at: both layers get their hint.
    images.recording("upper.qcow2", "top.qcow2", None);
    refused!(images, "format_missing_twice", ["upper.qcow2"]);
    images.qcow2("base.img");
    images.recording("top.qcow2", "base.img", None);
    refused!(images, "format_missing_and_not_clear", ["top.qcow2"]);
    images.recording("top.qcow2", "base.raw", Some("host_device"));
    refused!(images, "format_unknown", ["top.qcow2"]);
    images.recording("top.qcow2", "base.raw", Some("qcow2"));
    refused!(images, "format_wrong", ["top.qcow2"]);
    refused!(
        images,
        "format_flag_wrong",
        ["base.raw", "--format", "vhdx"]
    );
    refused!(
        images,
        "format_stated_wrong",
        ["top.qcow2", "--backing", "qcow2:base.raw"]
    );
}

#[test]
fn loops_are_found_by_file_and_not_by_name() {
    let images = Images::new();
    images.recording("self.qcow2", "self.qcow2", Some("qcow2"));
    refused!(images, "loop_of_one", ["self.qcow2"]);
    images.recording("a.qcow2", "./b.qcow2", Some("qcow2"));
    images.recording("b.qcow2", "link.qcow2", Some("qcow2"));
    images.shell("ln a.qcow2 link.qcow2");
    refused!(images, "loop_by_hard_link", ["a.qcow2"]);
}

#[test]
fn chains_deeper_than_64_layers_are_refused() {
    let images = Images::new();
    images.qcow2("0");
    for layer in 1..=64 {
        images.recording(&layer.to_string(), &(layer - 1).to_string(), Some("qcow2"));
    }
    refused!(images, "too_deep", ["64"]);
}

#[test]
fn stated_chains_that_make_no_sense_are_refused() {
    let images = Images::new();
    images.raw("a.raw");
    images.qcow2("top.qcow2");
    refused!(
        images,
        "stated_below_none",
        ["top.qcow2", "--backing", "none", "--backing", "raw:a.raw"]
    );
    refused!(
        images,
        "stated_below_base",
        ["a.raw", "--backing", "qcow2:top.qcow2"]
    );
    refused!(
        images,
        "stated_loop",
        ["top.qcow2", "--backing", "qcow2:top.qcow2"]
    );
    refused!(
        images,
        "stated_missing",
        ["top.qcow2", "--backing", "raw:gone.raw"]
    );
}

#[test]
fn a_missing_lower_layer_names_everything_that_leads_to_it() {
    let images = Images::new();
    images.recording("mid.qcow2", "gone/base.raw", Some("raw"));
    images.recording("top.qcow2", "mid.qcow2", Some("qcow2"));
    refused!(images, "missing_below", ["top.qcow2"]);
}

#[test]
fn names_and_contents_that_disagree_are_refused() {
    let images = Images::new();
    images.qcow2("disk.raw");
    refused!(images, "raw_name_qcow2_content", ["disk.raw"]);
    images.accepted(&["disk.raw", "--format", "qcow2"]);
    images.accepted(&["disk.raw", "--format", "raw"]);
    images.raw("disk.qcow2");
    refused!(images, "qcow2_name_raw_content", ["disk.qcow2"]);
}

#[test]
fn a_json_answer_has_the_problem_of_a_missing_image_too() {
    let images = Images::new();
    let json = images.json(&["gone.qcow2"]);
    assert_eq!(json["accepted"], false);
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(0));
    assert_eq!(images.chain(&["gone.qcow2", "--json"]).status, 125);
}
