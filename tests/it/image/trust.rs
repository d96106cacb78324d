//! Where the names in headers may lead: which files are followed, which are refused, and what
//! allows those.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Answer, Images};

/// A directory `in` for images, a raw disk beside it, and one below it.
fn images() -> Images {
    let images = Images::new();
    fs::create_dir_all(images.path("in/sub")).expect("directories");
    images.raw("secret");
    images.raw("in/sub/base");
    images
}

/// By which right each layer was opened, the top first.
fn rights(json: &serde_json::Value) -> Vec<String> {
    let layers = json["layers"].as_array().expect("layers");
    let by = layers
        .iter()
        .map(|layer| layer["by"].as_str().unwrap_or("?").to_owned());
    by.collect()
}

/// Runs `bivouac` with `words`, after `environment`.
fn bivouac(images: &Images, environment: &str, words: &str) -> Answer {
    let program = env!("CARGO_BIN_EXE_bivouac");
    let line = format!("{environment} {program} {words}");
    images.answer(images.command(["sh", "-c", &line]))
}

#[test]
fn a_recorded_name_that_leads_out_of_the_directory_is_refused_however_it_is_spelled() {
    let images = images();
    symlink("../secret", images.path("in/link")).expect("a link");
    symlink("..", images.path("in/up")).expect("a link");
    let secret = images.path("secret");
    let secret = secret.to_str().expect("UTF-8");
    for name in [
        secret,
        &format!("file:{secret}"),
        "../secret",
        "sub/../../secret",
        "link",
        "up/secret",
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
    ] {
        images.recording("in/top.qcow2", name, Some("raw"));
        let refused = images.refused(&["in/top.qcow2"]);
        assert!(refused.contains("which is not followed: "), "{refused}");
        assert!(refused.contains("--trust-chain"), "{refused}");
    }
    images.recording("in/top.qcow2", "link", Some("raw"));
    insta::assert_snapshot!("leads_out", images.refused(&["in/top.qcow2"]));
}

#[test]
fn a_file_beside_or_below_the_layer_is_followed_however_it_is_spelled() {
    let images = images();
    symlink("sub/base", images.path("in/inner")).expect("a link");
    symlink(images.path("in/sub/base"), images.path("in/absolute")).expect("a link");
    symlink("in", images.path("elsewhere")).expect("a link");
    let base = images.path("in/sub/base");
    let through_link = images.path("elsewhere/sub/base");
    for name in [
        "sub/base",
        "./sub/../sub/base",
        "../in/sub/base",
        "inner",
        "absolute",
        base.to_str().expect("UTF-8"),
        through_link.to_str().expect("UTF-8"),
    ] {
        images.recording("in/top.qcow2", name, Some("raw"));
        for image in ["in/top.qcow2", "elsewhere/top.qcow2"] {
            let json = images.json(&[image]);
            assert_eq!(rights(&json), ["given", "directory"], "{name}: {json}");
        }
    }
}

#[test]
fn the_hint_states_every_layer_down_to_the_refused_one() {
    let images = images();
    images.recording("in/mid.qcow2", "../secret", Some("raw"));
    images.recording("in/top.qcow2", "mid.qcow2", Some("qcow2"));
    let hint = images.hint(&["in/top.qcow2"]);
    let accepted = bivouac(&images, "", &format!("chain --json in/top.qcow2 {hint}"));
    let json = serde_json::from_str(&accepted.stdout).expect("JSON");
    assert_eq!(rights(&json), ["given", "stated", "stated"], "{json}");
    assert_eq!(accepted.status, 0, "{json}");
    let json = images.json(&["in/top.qcow2", "--trust-chain"]);
    assert_eq!(rights(&json), ["given", "directory", "trusted"], "{json}");
    insta::assert_snapshot!("hint_of_two_layers", images.refused(&["in/top.qcow2"]));
}

#[test]
fn files_below_the_image_path_are_followed() {
    let images = images();
    fs::create_dir_all(images.path("pool/deep")).expect("directories");
    images.raw("pool/deep/base");
    symlink("../secret", images.path("pool/link")).expect("a link");
    let chain = |name: &str| {
        images.recording("in/top.qcow2", name, Some("raw"));
        let environment = format!(
            "BIVOUAC_IMAGE_PATH=/nowhere:{}",
            images.path("pool").display()
        );
        bivouac(&images, &environment, "chain in/top.qcow2")
    };
    let followed = chain("../pool/deep/base");
    assert_eq!(followed.status, 0, "{}", followed.stdout);
    assert!(
        followed
            .stdout
            .contains("below a directory of BIVOUAC_IMAGE_PATH"),
        "{}",
        followed.stdout
    );
    assert_eq!(chain("../pool/link").status, 125);
    images.recording("in/top.qcow2", "../pool/deep/base", Some("raw"));
    for environment in ["", "BIVOUAC_IMAGE_PATH=", "BIVOUAC_IMAGE_PATH=pool:."] {
        let refused = bivouac(&images, environment, "chain in/top.qcow2");
        assert_eq!(refused.status, 125, "{environment}: {}", refused.stdout);
    }
}

#[test]
fn every_command_and_every_disk_is_held_to_it() {
    let images = images();
    images.recording("in/top.qcow2", "../secret", Some("raw"));
    images.raw("disk");
    let machine = "--qemu /bin/false --accel tcg --overlay memory";
    for words in [
        "run --dry-run in/top.qcow2",
        "run --dry-run disk --disk in/top.qcow2",
        "template build in/top.qcow2",
        "chroot in/top.qcow2 -- true",
        "ls in/top.qcow2:/",
        "ls disk:/ --disk in/top.qcow2",
        "cat in/top.qcow2:/x",
        "cp in/top.qcow2:/x .",
        "df in/top.qcow2",
        "inspect in/top.qcow2",
        "tail in/top.qcow2:/x",
    ] {
        let (command, rest) = words.split_once(' ').expect("words");
        let (command, rest) = match rest.strip_prefix("build ") {
            Some(rest) => ("template build", rest),
            None => (command, rest),
        };
        let refused = bivouac(&images, "", &format!("{command} {machine} {rest}"));
        assert_eq!(refused.status, 125, "{words}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("which is not followed: "),
            "{words}: {}",
            refused.stderr
        );
        let trusted = bivouac(
            &images,
            "",
            &format!("{command} {machine} --trust-chain {rest}"),
        );
        assert!(
            !trusted.stderr.contains("which is not followed"),
            "{words}: {}",
            trusted.stderr
        );
    }
}

#[test]
fn no_hint_grants_rights_or_writes_for_a_file_that_an_image_names() {
    let images = images();
    images.shell("mkfifo in/fifo; : > in/empty");
    for name in [
        "fifo",
        "empty",
        "sub",
        "/etc/shadow",
        "/root/x",
        "/dev/null",
    ] {
        images.recording("in/top.qcow2", name, Some("raw"));
        let refused = images.refused(&["in/top.qcow2"]);
        for command in ["setfacl", "truncate", "sudo", "cat "] {
            assert!(!refused.contains(command), "{name}: {refused}");
        }
    }
}
