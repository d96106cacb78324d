//! `session --inspect`: the files of an image that is not booted.

use serde_json::json;

use super::Client;
use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{filesystem, run, tree};
use crate::env::guests::guest;
use crate::env::ova::{ova, ovf, vmdk};
use crate::env::residue::sha256;

#[test]
fn an_image_is_held_mounted_and_paths_are_its_own() {
    let before = sha256(&guest("box.qcow2"));
    let session = Bivouac::new().args(["session", "--inspect"]);
    let mut client = Client::start(session.arg(guest("box.qcow2")));
    let passwd = client.call("read", json!({"path": "/etc/passwd"}));
    assert!(
        passwd["data"].as_str().unwrap().starts_with("root:"),
        "{passwd}"
    );
    assert_eq!(client.tell("m1", "pwd; head -c 5 /etc/passwd"), "/\nroot:");
    // No link leads out of the image.
    client.tell("m1", "ln -s /../../../etc/passwd /out");
    assert_eq!(client.call("read", json!({"path": "/out"})), passwd);
    client.call("put", json!({"path": "/new", "content": "x"}));
    assert_eq!(client.tell("m1", "cat /new"), "x");
    let script = "stty size; read a; stty size";
    let exec = client.send(
        "exec",
        json!({"argv": ["sh", "-c", script], "open_stdin": true,
               "tty": {"rows": 10, "columns": 20}}),
    );
    client.call("resize", json!({"exec": exec, "rows": 33, "columns": 44}));
    client.call("write", json!({"exec": exec, "data": "\n"}));
    let result = client.answer(exec)["result"].clone();
    let output = result["stdout"].as_str().unwrap();
    assert!(output.ends_with("33 44\r\n"), "{result}");
    assert_eq!(result.get("stderr"), None);
    let refused = client.refused("checkpoint", json!({}));
    assert_eq!(refused["data"]["hint"], "a session without --inspect");
    client.call("stop", json!({}));
    assert_eq!(client.notified("machine-ended", "m1")["reason"], "stopped");
    assert_eq!(client.end().code(), Some(0));
    assert_eq!(sha256(&guest("box.qcow2")), before);
}

#[test]
fn packed_images_are_held_mounted_too() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let files = tree(dir, "files", &[("file", "hello")]);
    let options = ["-q", "-d", files.to_str().unwrap()];
    let raw = filesystem(dir, "disk.raw", 8, "mkfs.ext4", &options);
    vmdk(&raw);
    ova(dir, "disk.ova", &ovf(&["disk.vmdk"], ""), &["disk.vmdk"]);
    run("xz", &["-k", raw.to_str().unwrap()]);
    for name in ["disk.ova", "disk.raw.xz"] {
        let image = dir.join(name);
        let before = sha256(&image);
        let session = Bivouac::new().args(["session", "--inspect"]);
        let mut client = Client::start(session.arg(&image));
        let read = client.call("read", json!({"path": "/file"}));
        assert_eq!(read["data"], "hello", "{name}");
        client.call("put", json!({"path": "/file", "content": "x"}));
        assert_eq!(client.call("read", json!({"path": "/file"}))["data"], "x");
        assert_eq!(client.end().code(), Some(0));
        assert_eq!(sha256(&image), before);
    }
}
