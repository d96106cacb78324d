//! Packages, services and languages of trees of this host, read through an agent that runs here, and bills
//! of materials of what was found.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bivouac::commands::inspect::report::ImageInfo;
use bivouac::commands::inspect::sbom::{Origin, SbomFormat, sbom};
use bivouac::inspect::facts::{Facts, facts};
use bivouac::inspect::image_files::ImageFiles;
use bivouac::inspect::packages::{Package, Packages};
use bivouac::protocol::disks::{Kind, Root, Survey, System};
use bivouac::protocol::warning::{Warning, WarningCode};
use serde_json::Value;

use crate::env::filesystems::write_files;
use crate::guest::Agent;

async fn found(root: &Path) -> Facts {
    let (_agent, session) = Agent::with_session().await;
    let files = ImageFiles::new(&session, root.to_str().unwrap(), true);
    facts(files, &[], true).await.unwrap()
}

/// What a list has, as `NAME VERSION ARCHITECTURE SOURCE`.
fn lines(facts: &Facts) -> Vec<String> {
    let packages = facts.packages.as_ref().unwrap();
    let list = packages.list.as_ref().unwrap();
    assert_eq!(packages.installed, Some(list.len() as u64));
    let text = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    let line = |one: &Package| {
        let (name, version) = (&one.name, &one.version);
        format!(
            "{name} {version} {} {}",
            text(&one.architecture),
            text(&one.source)
        )
    };
    list.iter().map(line).collect()
}

#[tokio::test]
async fn packages_of_a_debian_without_dpkg_are_listed_and_its_settings_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_files(
        root,
        &[
            (
                "var/lib/dpkg/status.d/base",
                "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
            ),
            (
                "var/lib/dpkg/status.d/libc",
                "Package: libc6\nVersion: 2.36\nArchitecture: amd64\nSource: glibc\n",
            ),
            ("var/lib/dpkg/status.d/libc.md5sums", "00 usr/lib/libc.so\n"),
            ("usr/lib/systemd/systemd", ""),
            ("etc/systemd/system/multi-user.target.wants/.keep", ""),
            (
                "etc/systemd/system/sockets.target.wants/own.socket",
                "no link",
            ),
            ("etc/default/locale", "LANG=\"de_DE.UTF-8\"\n"),
            (
                "etc/locale.gen",
                "# C\nde_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n",
            ),
            ("etc/default/keyboard", "XKBMODEL=pc\nXKBLAYOUT=\"de\"\n"),
        ],
    );
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    for unit in ["ssh.service", "cron.service"] {
        symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit)).unwrap();
    }
    symlink(
        "/usr/share/zoneinfo/Europe/Berlin",
        root.join("etc/localtime"),
    )
    .unwrap();
    let facts = found(root).await;
    assert_eq!(
        lines(&facts),
        ["base-files 12.4 amd64 base-files", "libc6 2.36 amd64 glibc"]
    );
    assert_eq!(facts.services, ["cron.service", "ssh.service"]);
    insta::assert_json_snapshot!("locale", facts.locale);
}

#[tokio::test]
async fn packages_and_services_of_an_alpine_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_files(
        root,
        &[
            (
                "lib/apk/db/installed",
                "P:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\nP:ash\nV:1-r0\nA:x86_64\n",
            ),
            ("sbin/openrc", ""),
            ("etc/runlevels/boot/.keep", ""),
            ("etc/runlevels/default/.keep", ""),
            ("etc/conf.d/loadkmap", "KEYMAP=/etc/keymap/fr.bmap.gz\n"),
        ],
    );
    for (level, service) in [
        ("default", "sshd"),
        ("boot", "networking"),
        ("boot", "sshd"),
    ] {
        let link = root.join("etc/runlevels").join(level).join(service);
        symlink(format!("/etc/init.d/{service}"), link).unwrap();
    }
    let facts = found(root).await;
    assert_eq!(
        lines(&facts),
        ["ash 1-r0 x86_64 -", "musl 1.2.4-r2 x86_64 musl"]
    );
    assert_eq!(facts.services, ["networking", "sshd"]);
    assert_eq!(
        facts.locale.keyboard.as_deref(),
        Some("/etc/keymap/fr.bmap.gz")
    );
}

#[tokio::test]
async fn packages_of_an_arch_are_listed_each_from_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let database = "var/lib/pacman/local";
    let desc = "%NAME%\nbash\n\n%VERSION%\n1:5.2-1\n\n%ARCH%\nx86_64\n\n%BASE%\nbash\n\n";
    write_files(
        root,
        &[
            (&format!("{database}/ALPM_DB_VERSION"), "9\n"),
            (&format!("{database}/bash-1:5.2-1/desc"), desc),
            (&format!("{database}/torn-2-3/desc"), "%VERSION%\n"),
        ],
    );
    // A System V init, whose links say what it starts.
    write_files(
        root,
        &[
            ("sbin/init", ""),
            ("etc/inittab", ""),
            ("etc/rc2.d/.keep", ""),
        ],
    );
    symlink("../init.d/ssh", root.join("etc/rc2.d/S20ssh")).unwrap();
    symlink("../init.d/cups", root.join("etc/rc2.d/K01cups")).unwrap();
    let facts = found(root).await;
    assert_eq!(lines(&facts), ["bash 1:5.2-1 x86_64 bash", "torn 2-3 - -"]);
    assert_eq!(facts.services, ["ssh"]);
    // Without a list there is their number.
    let (_agent, session) = Agent::with_session().await;
    let files = ImageFiles::new(&session, root.to_str().unwrap(), true);
    let packages = bivouac::inspect::packages::packages(files, false).await;
    let packages = packages.unwrap().unwrap();
    assert_eq!((packages.installed, packages.list), (Some(2), None));
}

#[tokio::test]
async fn a_link_in_place_of_a_database_leads_nowhere_outside() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("status"), "Package: no\nVersion: 1\n").unwrap();
    write_files(dir.path(), &[("var/lib/dpkg/.keep", "")]);
    symlink(
        outside.path().join("status"),
        dir.path().join("var/lib/dpkg/status"),
    )
    .unwrap();
    assert_eq!(found(dir.path()).await.packages, None);
}

fn report() -> ImageInfo {
    let os = |id: &str, version: Option<&str>| System {
        name: Some(format!("{id} Linux")),
        id: Some(id.to_owned()),
        version: version.map(str::to_owned),
    };
    let package = |name: &str, version: &str| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: Some("x86_64".to_owned()),
        source: Some("source".to_owned()),
        vendor: Some("A Vendor <a@vendor>".to_owned()),
        license: (name == "bash").then(|| "GPL-3.0 and \"odd\"".to_owned()),
    };
    let system = |format, list: Option<Vec<Package>>| Facts {
        packages: Some(Packages {
            format,
            manager: format,
            installed: list.as_ref().map(|list| list.len() as u64),
            list,
            problem: None,
        }),
        ..Facts::default()
    };
    let mut report = ImageInfo::new(&Survey::default(), &[], false);
    report.image = "/images/disk \u{202e}.img".into();
    let root = |device: &str, os| Root {
        os,
        ..Root::alone(device, Kind::Ext4)
    };
    let list = vec![package("bash", "1:5.2-1"), package("g++", "12~rc1")];
    report.add(
        root("/dev/vda1", os("fedora", Some("39"))),
        system("rpm", Some(list)),
        &[],
    );
    report.add(
        root("/dev/vda2", os("arch", None)),
        system("pacman", None),
        &[],
    );
    report
}

const ORIGIN: fn() -> Origin = || Origin {
    created: "2026-01-02T03:04:05Z".to_owned(),
    version: "0.1.0",
};

/// Every reference of a CycloneDX document names a component, and no name is given twice.
#[test]
fn a_bill_in_cyclonedx_refers_to_what_it_has() {
    let report = report();
    let bill = sbom(&report, SbomFormat::Cyclonedx, &ORIGIN());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let components = bill["components"].as_array().unwrap();
    let mut names: Vec<_> = components.iter().map(|one| text(&one["bom-ref"])).collect();
    names.push(text(&bill["metadata"]["component"]["bom-ref"]));
    names.sort();
    let mut refs: Vec<String> = Vec::new();
    for one in bill["dependencies"].as_array().unwrap() {
        refs.extend(one["dependsOn"].as_array().unwrap().iter().map(text));
        assert!(names.contains(&text(&one["ref"])));
    }
    // All but the image itself are depended on, once.
    refs.push("image".to_owned());
    refs.sort();
    assert_eq!(refs, names);
    insta::assert_json_snapshot!("cyclonedx", bill);
}

#[test]
fn a_bill_in_spdx_relates_what_it_has() {
    let mut report = report();
    let bill = sbom(&report, SbomFormat::Spdx, &ORIGIN());
    let related = bill["relationships"].as_array().unwrap();
    let packages = bill["packages"].as_array().unwrap();
    let mut ids: Vec<_> = packages.iter().map(|one| &one["SPDXID"]).collect();
    let mut to: Vec<_> = related
        .iter()
        .map(|one| &one["relatedSpdxElement"])
        .collect();
    ids.sort_by_key(|id| id.to_string());
    to.sort_by_key(|id| id.to_string());
    assert_eq!(ids, to);
    insta::assert_json_snapshot!("spdx", bill);
    // What is missing is said, and it is another document then.
    let id = |bill: &Value| bill["documentNamespace"].to_string();
    let warning = Warning::new(WarningCode::System, "/dev/vda2", "not listed");
    report.remarks = vec![warning.to_string()];
    report.warnings = vec![warning];
    let other = sbom(&report, SbomFormat::Spdx, &ORIGIN());
    assert_ne!(id(&other), id(&bill));
    let comment = other["creationInfo"]["comment"].as_str().unwrap();
    assert!(comment.contains("not listed"), "{comment}");
    let cyclonedx = sbom(&report, SbomFormat::Cyclonedx, &ORIGIN());
    assert_eq!(cyclonedx["compositions"][0]["aggregate"], "incomplete");
}
