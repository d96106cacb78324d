//! Digests, attributes and times of `ls`; patterns of `ls`, `cat` and `cp`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{filesystem, run, write_files};
use crate::env::residue::sha256;

fn bivouac(args: &[&str]) -> Finished {
    Bivouac::new().args(args).output()
}

fn printed(args: &[&str], expected: &str) {
    let done = bivouac(args);
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert_eq!(done.stdout, expected, "{args:?}");
}

#[test]
fn digests_attributes_and_patterns_are_those_of_the_files_in_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    write_files(
        &root,
        &[
            ("logs/a.log", "a\n"),
            ("logs/b.log", "b\n"),
            ("logs/.hidden.log", "h\n"),
            ("logs/[ab].log", "literal\n"),
            ("other/deep/c.log", "c\n"),
            ("big", &"0123456789".repeat(100_000)),
        ],
    );
    symlink("../../../../etc", root.join("other/out")).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let options = ["-q", "-d", &path(&root)];
    let image = path(&filesystem(dir.path(), "image", 32, "mkfs.ext4", &options));
    run(
        "debugfs",
        &["-w", "-R", "ea_set /logs/a.log user.core value", &image],
    );
    run(
        "debugfs",
        &["-w", "-R", "sif /logs/a.log mtime 20010203040506", &image],
    );
    let before = sha256(Path::new(&image));
    let at = |path: &str| format!("{image}:{path}");
    let mut cases = Cases::default();
    cases.case("digests", || {
        let digest = |file: &str| run("sha256sum", &[&path(&root.join(file))])[..64].to_owned();
        let done = bivouac(&["ls", "--checksum", &at("/")]);
        let expected = format!("{} big\n{:64} logs\n", digest("big"), "-");
        assert!(done.stdout.starts_with(&expected), "{done:?}");
        let done = bivouac(&[
            "ls",
            "-R",
            "--json",
            "--checksum=sha256",
            "--xattrs",
            &at("/logs"),
        ]);
        let objects: Vec<Value> = (done.stdout.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let entry = objects
            .iter()
            .find(|entry| entry["path"] == "/logs/a.log")
            .unwrap();
        assert_eq!(entry["sha256"], digest("logs/a.log"));
        assert_eq!(entry["xattrs"], serde_json::json!([["user.core", "value"]]));
    });
    cases.case("attributes and times", || {
        let done = bivouac(&["ls", "--xattrs", "--times", &at("/logs/a.log")]);
        let lines: Vec<_> = done.stdout.lines().collect();
        assert_eq!(
            (lines.len(), lines[1]),
            (2, "    user.core=value"),
            "{done:?}"
        );
        assert!(lines[0].contains(" 2001-02-03T04:05:06Z 20"), "{done:?}");
    });
    cases.case("patterns of ls", || {
        printed(&["ls", &at("/logs/?.log")], "/logs/a.log\n/logs/b.log\n");
        printed(&["ls", &at("/*/*/*.log")], "/other/deep/c.log\n");
        printed(&["ls", &at("/logs/.*.log")], "/logs/.hidden.log\n");
        let done = bivouac(&["ls", &at("/logs/*.none")]);
        assert_eq!(done.code(), Some(1), "{done:?}");
        assert!(
            done.stderr.contains("/logs/*.none: No such file"),
            "{done:?}"
        );
        // A link leads nowhere outside.
        let done = bivouac(&["ls", &at("/other/o*/passwd")]);
        assert_eq!(done.code(), Some(1), "{done:?}");
    });
    cases.case("patterns of cat", || {
        printed(&["cat", &at("/logs/[!b].log"), &at("/logs/b*")], "a\nb\n");
        // A name that exists is no pattern.
        printed(&["cat", &at("/logs/[ab].log")], "literal\n");
    });
    cases.case("patterns of cp", || {
        let (into, new) = (dir.path().join("into"), path(&dir.path().join("new")));
        fs::create_dir(&into).unwrap();
        printed(&["cp", &at("/logs/?.log"), &path(&into)], "");
        assert_eq!(fs::read(into.join("b.log")).unwrap(), b"b\n");
        assert!(!into.join(".hidden.log").exists());
        let done = bivouac(&["cp", &at("/logs/?.log"), &new]);
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(
            done.stderr
                .contains("is not a directory, and there are several"),
            "{done:?}"
        );
        // One match is one file.
        printed(&["cp", &at("/logs/a*"), &new], "");
        assert_eq!(fs::read(&new).unwrap(), b"a\n");
        let done = bivouac(&["cp", &at("/logs/?.log"), "-"]);
        assert_eq!(done.code(), Some(125), "{done:?}");
    });
    cases.case("the image is what it was", || {
        assert_eq!(sha256(Path::new(&image)), before)
    });
}
