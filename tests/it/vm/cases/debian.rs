//! A real Debian 12 that is prepared by apt, from a repository that the test makes: installed once,
//! and found by every case.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::ended;
use crate::env::bivouac::{Bivouac, Finished};
use crate::env::guests::guest;
use crate::env::residue::sha256;

const UPDATE: &str = "--prepare=echo 'deb [trusted=yes] file:/srv/repository ./' \
     > /etc/apt/sources.list; rm -rf /etc/apt/sources.list.d; apt-get update";
const INSTALL: &str = "--prepare=DEBIAN_FRONTEND=noninteractive apt-get install -y bivouac-hello; \
     cat /proc/sys/kernel/random/uuid > /srv/installed";

/// A repository with one package, whose program prints `text`.
fn repository(dir: &Path, text: &str) {
    let (tree, repository) = (dir.join("tree"), dir.join("repository"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::create_dir_all(&repository).unwrap();
    let control = "Package: bivouac-hello\nVersion: 1\nArchitecture: all\n\
         Maintainer: Nobody <nobody@example.org>\nDescription: says something\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let program = tree.join("usr/bin/bivouac-hello");
    fs::write(&program, format!("#!/bin/sh\necho {text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let package = repository.join("bivouac-hello.deb");
    let mut build = Command::new("dpkg-deb");
    build.args(["--build", "--root-owner-group"]);
    let built = build.arg(&tree).arg(&package).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let size = fs::metadata(&package).unwrap().len();
    let sum = sha256(&package);
    let index = format!("{control}Filename: ./bivouac-hello.deb\nSize: {size}\nSHA256: {sum}\n");
    fs::write(repository.join("Packages"), index).unwrap();
}

fn test(dir: &Path, image: &Path, case: &str) -> Finished {
    let copy = dir.join("repository");
    Bivouac::new()
        .args(["test", "--memory=1G", "--json", "--timeout=10m"])
        .arg(format!("--copy-in={}:/srv/", copy.display()))
        .args([UPDATE, INSTALL])
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("BIVOUAC_TEMPLATES_MAX", "4G")
        .arg(image)
        .args([
            "--cases",
            case,
            "kill -SEGV 1; rm -rf /etc; exit 3",
            "cat /srv/installed; exit 7",
        ])
        .args(["--", "sh", "-c", "{}"])
        .output()
}

#[test]
fn debian_is_prepared_by_apt_once_and_every_case_finds_what_was_installed() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("debian12.qcow2");
    let before = sha256(&image);
    let mut installed = Vec::new();
    // The second finds all prepared; of the third the package is another.
    for (text, is_new) in [("one", true), ("one", false), ("two", true)] {
        if is_new {
            repository(dir.path(), text);
        }
        let case = format!("test $(bivouac-hello) = {text} && systemctl is-active dbus");
        let finished = test(dir.path(), &image, &case);
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        assert_eq!(ended(&finished, &case)["verdict"], "passed", "{finished:?}");
        let wrecked = ended(&finished, "kill -SEGV 1; rm -rf /etc; exit 3");
        assert_ne!(wrecked["verdict"], "passed", "{finished:?}");
        let event = ended(&finished, "cat /srv/installed; exit 7");
        installed.push(event["output"].as_str().unwrap().to_owned());
    }
    assert_eq!(installed[0], installed[1]);
    assert_ne!(installed[1], installed[2]);
    assert_eq!(sha256(&image), before);
}
