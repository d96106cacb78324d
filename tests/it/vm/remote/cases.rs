//! Machines on remote images that boot, and those that are saved: by the process that made them alone.

use std::fs;

use crate::env::bivouac::Bivouac;
use crate::env::box_image;
use crate::env::guests::tiny;
use crate::env::residue::{files, sha256};
use crate::env::servers::Nbd;

#[test]
fn a_machine_on_a_remote_image_boots_and_its_template_is_nobody_elses() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let (image, tmp) = (place.path().join("box.raw"), place.path().join("tmp"));
    fs::create_dir(&tmp).unwrap();
    box_image::copy(&image);
    let before = sha256(&image);
    let nbd = Nbd::at_port(&image);
    let command = |words: &[&str]| {
        let bivouac = Bivouac::new().env("TMPDIR", &tmp).args(words);
        bivouac.arg("--remote").args(tiny("switch")).arg(&nbd.url)
    };
    let script = ["--", "sh", "-c", "echo x >/root/x; cat /root/x"];
    let warm = command(&["run", "--warm"]).args(script).output();
    assert_eq!((warm.code(), &*warm.stdout), (Some(0), "x\n"), "{warm:?}");
    let why = "is an image of a server, whose changes leave no trace here; the machine is booted";
    assert!(warm.stderr.contains(why), "{warm:?}");

    let prepared = ["test", "--prepare", "echo ready >/root/ready"];
    let test = command(&prepared).args(["--cases", "ready", "other", "--"]);
    let done = test.args(["test", "-e", "/root/{}"]).output();
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(done.stdout.contains("1 passed"), "{done:?}");

    let keep = place.path().join("kept");
    let kept = command(&["run", "--keep", keep.to_str().unwrap()]);
    let refused = kept.args(["--", "true"]).output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("hint: --keep-full"), "{refused:?}");
    assert!(files(&[&tmp]).is_empty(), "{:?}", files(&[&tmp]));
    assert_eq!(sha256(&image), before);
}
