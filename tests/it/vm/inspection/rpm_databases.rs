//! `inspect --packages` of databases of rpm, against `rpm -qa`: NDB and SQLite, which Debian 13's rpm writes, and
//! Berkeley DB, made of the same records by its own db5.3_load. The images have no rpm.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::env::bivouac::Bivouac;
use crate::env::filesystems::{filesystem, run, write_files};
use crate::env::residue::sha256;

/// Debian 13's rpm, or a program beside it.
fn program(name: &str) -> PathBuf {
    let rpm = std::env::var("BIVOUAC_TEST_RPM")
        .expect("BIVOUAC_TEST_RPM: scripts/test sets it, scripts/rpm-trixie makes it");
    Path::new(&rpm).with_file_name(name)
}

fn rpm(name: &str, directory: &Path, format: &str, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program(name));
    command.args(words).arg("--dbpath").arg(directory);
    command.args(["--define", &format!("_db_backend {format}")]);
    let output = crate::env::wait::output(&mut command).unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    output.stdout
}

/// What `rpm -qa` lists, but for keys, as `inspect --packages` shows it.
fn listed(directory: &Path, format: &str) -> Vec<String> {
    const LINE: &str = "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{ARCH} %{SOURCERPM}\\n";
    let said = rpm("rpm", directory, format, &["-qa", "--qf", LINE]);
    let said = String::from_utf8(said).unwrap();
    let lines = said.lines().filter(|line| !line.starts_with("gpg-pubkey "));
    sorted(lines.map(str::to_owned))
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

/// Packages of one build, some of which have many files: their records fill many pages.
fn packages(dir: &Path) -> Vec<PathBuf> {
    let mut spec = "Name: odd++\nEpoch: 2\nVersion: 1.5\nRelease: 3~rc1\nSummary: s\n\
        License: MIT and \"odd\"\nVendor: A Vendor\nBuildArch: noarch\n%description\nd\n"
        .to_owned();
    let mut install = "%install\n".to_owned();
    let mut files = "%files\n".to_owned();
    for number in 0..30 {
        let epoch = if number % 3 == 0 { "Epoch: 0\n" } else { "" };
        spec += &format!(
            "%package -n sub{number}\nSummary: s\nVersion: {number}\n{epoch}License: GPL\n\
             %description -n sub{number}\n{}\n",
            "word ".repeat(number * 40)
        );
        files += &format!("%files -n sub{number}\n");
        if number % 10 == 0 {
            let place = format!("%{{buildroot}}/many{number}");
            install += &format!("mkdir -p {place}; (cd {place} && touch $(seq 900))\n");
            files += &format!("/many{number}\n");
        }
    }
    let path = dir.join("odd.spec");
    fs::write(&path, spec + &install + &files).unwrap();
    let top = format!("_topdir {}", dir.join("build").display());
    let path = path.to_str().unwrap();
    run("rpmbuild", &["-bb", "--quiet", "--define", &top, path]);
    let made = fs::read_dir(dir.join("build/RPMS/noarch")).unwrap();
    made.map(|entry| entry.unwrap().path()).collect()
}

/// A database in which packages were installed, and some of them erased, which leaves holes.
fn installed(dir: &Path, format: &str, packages: &[PathBuf]) -> PathBuf {
    let database = dir.join(format);
    fs::create_dir(&database).unwrap();
    let mut install = vec!["-i", "--justdb", "--nodeps", "--nosignature"];
    install.extend(packages.iter().map(|package| package.to_str().unwrap()));
    rpm("rpmdb", &database, format, &["--initdb"]);
    rpm("rpm", &database, format, &install);
    let erased = ["-e", "--justdb", "--nodeps", "sub4", "sub10", "sub11"];
    rpm("rpm", &database, format, &erased);
    database
}

/// A copy of an SQLite database while a program writes to it: what that committed is in the log only.
fn written_to(dir: &Path, sqlite: &Path) -> PathBuf {
    const WRITER: &str = "
import os, shutil, sqlite3, sys
source, target = sys.argv[1:]
database = sqlite3.connect(source + '/rpmdb.sqlite', isolation_level=None)
database.execute('pragma wal_autocheckpoint = 0')
database.execute('delete from Packages where hnum % 7 = 3')
os.mkdir(target)
for name in ('rpmdb.sqlite', 'rpmdb.sqlite-wal'):
    shutil.copy(source + '/' + name, target)
";
    let target = dir.join("written");
    let paths = [sqlite, &target].map(|path| path.to_str().unwrap());
    run("python3", &[&["-c", WRITER], &paths[..]].concat());
    target
}

/// Berkeley DB, from the records of an NDB as rpm exports them: each with its magic and two lengths.
fn berkeley_db(dir: &Path, ndb: &Path, name: &str, page: u32, is_big_endian: bool) -> PathBuf {
    let mut input = "VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n".to_owned();
    let mut pair = |key: u32, value: &[u8]| {
        let key = if is_big_endian {
            key.to_be_bytes()
        } else {
            key.to_le_bytes()
        };
        for bytes in [&key, value] {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            input += &format!(" {hex}\n");
        }
    };
    let exported = rpm("rpmdb", ndb, "ndb", &["--exportdb"]);
    let (mut rest, mut last) = (&exported[..], 0_u32);
    while !rest.is_empty() {
        let number = |at: usize| u32::from_be_bytes(*rest[at..].first_chunk().unwrap()) as usize;
        let end = 16 + 16 * number(8) + number(12);
        last += 1;
        pair(last, &rest[8..end]);
        rest = &rest[end..];
    }
    pair(0, &last.to_ne_bytes());
    input += "DATA=END\n";
    let database = dir.join(name);
    fs::create_dir(&database).unwrap();
    let order = if is_big_endian { "4321" } else { "1234" };
    let mut load = Command::new("db5.3_load")
        .args(["-t", "hash", "-c", &format!("db_pagesize={page}")])
        .args(["-c", &format!("db_lorder={order}")])
        .arg(database.join("Packages"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("db5.3_load: scripts/setup installs it");
    load.stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    assert!(load.wait().unwrap().success());
    database
}

/// An image with one file as the database of a system.
fn image(dir: &Path, name: &str, path: &str, database: &[u8]) -> PathBuf {
    let root = dir.join(name);
    let release = "ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n";
    write_files(
        &root,
        &[
            ("etc/os-release", release),
            ("usr/bin/zypper", ""),
            (path, ""),
        ],
    );
    fs::write(root.join(path), database).unwrap();
    let options = ["-q", "-d", root.to_str().unwrap()];
    filesystem(dir, &format!("{name}.img"), 16, "mkfs.ext4", &options)
}

fn inspect(args: &[&str], images: &[&Path]) -> (Option<i32>, Vec<Value>, String) {
    let done = Bivouac::new()
        .arg("inspect")
        .args(args)
        .args(images)
        .output();
    let values = done.stdout.lines();
    let values = values.map(|line| serde_json::from_str(line).expect("JSON"));
    (done.code(), values.collect(), done.stderr)
}

fn packages_of(report: &Value) -> &Value {
    &report["systems"][0]["packages"]
}

/// A list as [`listed`] has it.
fn lines(report: &Value) -> Vec<String> {
    let list = packages_of(report)["list"].as_array().expect("a list");
    let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
    sorted(list.iter().map(|package| {
        ["name", "version", "architecture", "source"]
            .map(|field| text(package, field))
            .join(" ")
    }))
}

#[test]
fn packages_of_each_database_of_rpm_are_those_that_rpm_lists() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let files = packages(dir);
    assert_eq!(files.len(), 31);
    let ndb = installed(dir, "ndb", &files);
    let expected = listed(&ndb, "ndb");
    assert_eq!(expected.len(), 28);
    let sqlite = installed(dir, "sqlite", &files);
    assert_eq!(listed(&sqlite, "sqlite"), expected);
    let small = berkeley_db(dir, &ndb, "small", 512, false);
    let swapped = berkeley_db(dir, &ndb, "swapped", 4096, true);
    for database in [&small, &swapped] {
        assert_eq!(listed(database, "bdb_ro"), expected);
    }
    let sysimage = "usr/lib/sysimage/rpm/Packages.db";
    let packages_db = fs::read(ndb.join("Packages.db")).unwrap();
    let packages = |database: &Path| fs::read(database.join("Packages")).unwrap();
    let images = [
        image(dir, "suse", sysimage, &packages_db),
        image(dir, "centos", "var/lib/rpm/Packages", &packages(&small)),
        image(dir, "s390x", "var/lib/rpm/Packages", &packages(&swapped)),
        image(
            dir,
            "fedora",
            "var/lib/rpm/rpmdb.sqlite",
            &fs::read(sqlite.join("rpmdb.sqlite")).unwrap(),
        ),
    ];
    let before = images.each_ref().map(|image| sha256(image));
    let paths = images.each_ref().map(PathBuf::as_path);
    let (code, reports, said) = inspect(&["--packages", "--json"], &paths);
    assert_eq!((code, reports.len(), &*said), (Some(0), 4, ""));
    for report in &reports {
        assert_eq!(lines(report), expected);
        let packages = packages_of(report);
        assert_eq!(
            (&packages["format"], &packages["installed"]),
            (&"rpm".into(), &28.into())
        );
        assert_eq!(packages["manager"], "zypper");
        let odd = &packages["list"][0];
        assert_eq!(
            (&odd["license"], &odd["vendor"]),
            (&"MIT and \"odd\"".into(), &"A Vendor".into())
        );
    }
    let (code, bills, _) = inspect(&["--sbom", "cyclonedx"], &paths[..2]);
    assert_eq!((code, bills.len()), (Some(0), 2));
    let purl = "pkg:rpm/opensuse-leap/sub3@3-3~rc1?arch=noarch&distro=opensuse-leap-15.6&epoch=0\
        &upstream=odd%2B%2B-1.5-3~rc1.src.rpm";
    for bill in &bills {
        let components = bill["components"].as_array().unwrap();
        assert!(
            components.iter().any(|one| one["purl"] == purl),
            "{components:?}"
        );
    }
    merged(dir, &sqlite);
    damaged(dir, &packages_db, &packages(&small), &expected);
    assert_eq!(images.each_ref().map(|image| sha256(image)), before);
}

/// What is in a log counts; a journal to be rolled back is said.
fn merged(dir: &Path, sqlite: &Path) {
    let written = written_to(dir, sqlite);
    let [database, log] = ["rpmdb.sqlite", "rpmdb.sqlite-wal"].map(|name| written.join(name));
    let root = dir.join("log");
    write_files(
        &root,
        &[("etc/os-release", "ID=fedora\n"), ("var/lib/rpm/.keep", "")],
    );
    let place = root.join("var/lib/rpm");
    for file in [&database, &log] {
        fs::copy(file, place.join(file.file_name().unwrap())).unwrap();
    }
    let options = ["-q", "-d", root.to_str().unwrap()];
    let with_log = filesystem(dir, "log.img", 16, "mkfs.ext4", &options);
    fs::write(place.join("rpmdb.sqlite-journal"), "pages").unwrap();
    let with_journal = filesystem(dir, "journal.img", 16, "mkfs.ext4", &options);
    let (code, reports, said) = inspect(&["--packages", "--json"], &[&with_log, &with_journal]);
    assert_eq!((code, reports.len()), (Some(1), 2));
    assert!(said.contains("it may lack changes that are in /var/lib/rpm/rpmdb.sqlite-journal"));
    // rpm merges the log in its copy.
    let expected = listed(&written, "sqlite");
    assert!((20..28).contains(&expected.len()), "{expected:?}");
    assert_eq!(lines(&reports[0]), expected);
    assert_eq!(packages_of(&reports[0])["installed"], expected.len());
    assert_eq!(packages_of(&reports[1])["installed"], Value::Null);
}

/// What is cut off, changed or not merged is said, and what can be read is listed.
fn damaged(dir: &Path, ndb: &[u8], bdb: &[u8], expected: &[String]) {
    let mut changed = ndb.to_vec();
    let place = (0..ndb.len())
        .find(|at| ndb[*at..].starts_with(b"sub7\0"))
        .unwrap();
    changed[place] = b'x';
    let cut = &bdb[..bdb.len() * 3 / 4];
    let logged = image(dir, "logged", "var/lib/rpm/Packages", bdb);
    let root = dir.join("logged");
    fs::write(root.join("var/lib/rpm/log.0000000001"), "log").unwrap();
    let options = [
        "-q",
        "-F",
        "-d",
        root.to_str().unwrap(),
        logged.to_str().unwrap(),
    ];
    run("mkfs.ext4", &options);
    let unreadable = image(dir, "unreadable", "var/lib/rpm/Packages", bdb);
    // The start of the tree that maps its blocks.
    let no_blocks = "set_inode_field /var/lib/rpm block[0] 0";
    run(
        "debugfs",
        &["-w", "-R", no_blocks, unreadable.to_str().unwrap()],
    );
    let images = [
        image(dir, "changed", "var/lib/rpm/Packages.db", &changed),
        image(dir, "cut", "var/lib/rpm/Packages", cut),
        image(dir, "empty", "var/lib/rpm/Packages.db", b""),
        logged,
        unreadable,
    ];
    let paths = images.each_ref().map(PathBuf::as_path);
    let (code, reports, said) = inspect(&["--packages", "--json"], &paths);
    assert_eq!((code, reports.len()), (Some(1), 5));
    let reasons = [
        "/var/lib/rpm/Packages.db: the record of a package at byte ",
        "is damaged or cut off, and ",
        "/var/lib/rpm/Packages.db: the header at byte 0 is damaged or cut off",
        "it may lack changes that are in /var/lib/rpm/log.0000000001",
        "not all packages are listed: /var/lib/rpm cannot be read: ",
    ];
    for (report, reason) in reports.iter().zip(reasons) {
        let warning = &report["warnings"][0];
        assert!(
            warning["reason"].as_str().unwrap().contains(reason),
            "{warning}"
        );
        assert!(said.contains(reason), "{said}");
        assert_eq!(packages_of(report)["installed"], Value::Null);
    }
    let all_but_one = lines(&reports[0]);
    assert_eq!(all_but_one.len(), expected.len() - 1);
    assert!(all_but_one.iter().all(|line| expected.contains(line)));
    let some = lines(&reports[1]).len();
    assert!((1..expected.len()).contains(&some), "{some}");
    assert_eq!(lines(&reports[3]), expected);
    assert_eq!(lines(&reports[4]), [""; 0]);
    // Without a list it is said as well, and their number is unknown.
    let (code, reports, said) = inspect(&["--json", "-P", "2"], &paths[..2]);
    assert_eq!((code, reports.len()), (Some(1), 2));
    assert!(
        said.contains(reasons[0]) && said.contains(reasons[1]),
        "{said}"
    );
}
