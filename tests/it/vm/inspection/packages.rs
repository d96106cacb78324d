//! `inspect --packages` against the package managers themselves, and several images in one call.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::{filesystem, run, write_files};
use crate::env::guests::guest;
use crate::env::residue::sha256;

fn inspect(args: &[&str], images: &[&Path]) -> crate::env::bivouac::Finished {
    Bivouac::new()
        .arg("inspect")
        .args(args)
        .args(images)
        .output()
}

/// The lines of a list, sorted, with one space between words.
fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> = text.lines().map(words).collect();
    lines.sort();
    lines
}

/// A system with this host's rpm, in whose database are two packages that are made here.
fn rpm_system(dir: &Path) -> PathBuf {
    let root = dir.join("rpm");
    write_files(
        &root,
        &[
            ("etc/os-release", "ID=rpmish\nVERSION_ID=9\n"),
            ("usr/bin/.keep", ""),
            ("tmp/.keep", ""),
            ("var/lib/rpm/.keep", ""),
        ],
    );
    for (link, target) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        fs::create_dir_all(root.join(target)).unwrap();
        symlink(target, root.join(link)).unwrap();
    }
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let copy = |file: &str| {
        let target = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        run("cp", &["-rL", file, &path(&target)]);
    };
    copy("/usr/bin/rpm");
    copy("/usr/lib/rpm");
    let libraries = run("ldd", &["/usr/bin/rpm"]);
    let words = libraries.split_whitespace();
    words.filter(|word| word.starts_with('/')).for_each(copy);
    for (name, epoch) in [("odd++", "Epoch: 2\n"), ("plain", "")] {
        let spec = dir.join(format!("{name}.spec"));
        let text = format!(
            "Name: {name}\n{epoch}Version: 1.5\nRelease: 3~rc1\nSummary: s\nLicense: MIT and \"odd\"\n\
             Vendor: A Vendor\nBuildArch: noarch\n%description\nd\n%files\n"
        );
        fs::write(&spec, text).unwrap();
        let top = format!("_topdir {}", path(&dir.join("build")));
        run(
            "rpmbuild",
            &["-bb", "--quiet", "--define", &top, &path(&spec)],
        );
        let package = dir.join(format!("build/RPMS/noarch/{name}-1.5-3~rc1.noarch.rpm"));
        let mut words = vec!["--root".to_owned(), path(&root)];
        words.extend(
            [
                "--dbpath",
                "/var/lib/rpm",
                "--force-debian",
                "--nodeps",
                "-i",
            ]
            .map(str::to_owned),
        );
        words.push(path(&package));
        run("rpm", &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    filesystem(dir, "rpm.img", 60, "mkfs.ext4", &["-q", "-d", &path(&root)])
}

#[test]
fn packages_are_those_that_dpkg_and_rpm_list_in_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let (debian, rpm) = (guest("debian12.qcow2"), rpm_system(dir.path()));
    let before = [sha256(&debian), sha256(&rpm)];
    let mut cases = Cases::default();
    let theirs = |image: &Path, command: &[&str]| {
        let done = Bivouac::new()
            .arg("chroot")
            .arg(image)
            .arg("--")
            .args(command)
            .output();
        assert_eq!(done.code(), Some(0), "{done:?}");
        lines(&done.stdout)
    };
    cases.case("deb", || {
        let done = inspect(&["--packages"], &[&debian]);
        let format = "${Package} ${Version} ${Architecture} ${source:Package}\\n";
        let expected = theirs(&debian, &["dpkg-query", "-W", "-f", format]);
        assert!(expected.len() > 100, "{expected:?}");
        assert_eq!(lines(&done.stdout), expected);
    });
    cases.case("rpm", || {
        let done = inspect(&["--packages"], &[&rpm]);
        assert_eq!(done.code(), Some(0), "{done:?}");
        let source = |name: &str| format!("{name}-1.5-3~rc1.src.rpm");
        let expected = [("odd++", "2:"), ("plain", "")]
            .map(|(name, epoch)| format!("{name} {epoch}1.5-3~rc1 noarch {}", source(name)));
        assert_eq!(lines(&done.stdout), expected);
        let command = ["rpm", "--dbpath", "/var/lib/rpm", "-qa"];
        let expected = ["odd++-1.5-3~rc1.noarch", "plain-1.5-3~rc1.noarch"];
        assert_eq!(theirs(&rpm, &command), expected);
    });
    cases.case("several images, one of which is none", || {
        let none = dir.path().join("none.img");
        let done = inspect(
            &["--packages", "--json", "-P", "2"],
            &[&rpm, &none, &debian],
        );
        assert_eq!(done.code(), Some(1), "{done:?}");
        let objects: Vec<Value> = (done.stdout.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(objects.len(), 3);
        let package = &objects[0]["systems"][0]["packages"]["list"][0];
        assert_eq!(package["version"], "2:1.5-3~rc1");
        assert_eq!(
            (&package["license"], &package["vendor"]),
            (&"MIT and \"odd\"".into(), &"A Vendor".into())
        );
        assert!(
            objects[1]["error"]
                .as_str()
                .unwrap()
                .contains("No such file")
        );
        assert_eq!(objects[2]["image"], debian.to_str().unwrap());
        assert_eq!(objects[2]["systems"][0]["locale"]["timezone"], "Etc/UTC");
        let services = objects[2]["systems"][0]["services"].as_array().unwrap();
        assert!(
            services.contains(&"systemd-networkd.service".into()),
            "{services:?}"
        );
    });
    cases.case("a bill of materials", || {
        let done = inspect(&["--sbom", "spdx"], &[&debian]);
        assert_eq!(done.code(), Some(0), "{done:?}");
        let bill: Value = serde_json::from_str(&done.stdout).unwrap();
        let packages = bill["packages"].as_array().unwrap();
        let purl = |name: &str| {
            let package = packages.iter().find(|package| package["name"] == name);
            package.unwrap()["externalRefs"][0]["referenceLocator"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert!(
            purl("bash").starts_with("pkg:deb/debian/bash@5.2"),
            "{}",
            purl("bash")
        );
    });
    cases.case(
        "an image without rpm, and one with a damaged database",
        || {
            let root = dir.path().join("rpm");
            fs::remove_file(root.join("usr/bin/rpm")).unwrap();
            let options = ["-q", "-d", root.to_str().unwrap()];
            let image = filesystem(dir.path(), "without.img", 60, "mkfs.ext4", &options);
            let done = inspect(&["--packages"], &[&image]);
            assert_eq!(
                (done.code(), done.stdout.lines().count()),
                (Some(0), 2),
                "{done:?}"
            );
            let database = root.join("var/lib/rpm/rpmdb.sqlite");
            let whole = fs::read(&database).unwrap();
            fs::write(&database, &whole[..whole.len() / 2]).unwrap();
            let image = filesystem(dir.path(), "damaged.img", 60, "mkfs.ext4", &options);
            let done = inspect(&["--packages"], &[&image]);
            assert_eq!(done.code(), Some(1), "{done:?}");
            assert!(
                done.stderr
                    .contains("not all packages are listed: /var/lib/rpm/rpmdb.sqlite: "),
                "{done:?}"
            );
        },
    );
    cases.case("the images are what they were", || {
        assert_eq!([sha256(&debian), sha256(&rpm)], before);
    });
}
