//! Packages made by hand, whole and hostile.

use std::io::Write;

use super::*;
use crate::archive::{Member, begin, end, padding};

type Files = Vec<(String, Vec<u8>)>;

fn files(package: &[u8]) -> Result<Files, PackageError> {
    let mut found = Vec::new();
    read(package, &mut |path, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        found.push((path.to_str().unwrap().to_owned(), bytes));
        Ok(())
    })?;
    Ok(found)
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in members {
        let mut member = Member::new(path.as_bytes().to_vec(), crate::archive::Kind::File);
        (member.size, member.mode) = (content.len() as u64, 0o644);
        begin(&mut out, &member).unwrap();
        out.extend_from_slice(content);
        out.extend_from_slice(padding(content.len() as u64));
    }
    end(&mut out).unwrap();
    out
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = deb::MAGIC.to_vec();
    for (name, content) in members {
        writeln!(
            out,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            644,
            content.len()
        )
        .unwrap();
        out.extend_from_slice(content);
        out.resize(out.len() + content.len() % 2, b'\n');
    }
    out
}

fn deb_of(data: &[u8]) -> Vec<u8> {
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar", data),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn cpio_of(members: &[(&str, u32, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, mode, links, content) in
        members
            .iter()
            .copied()
            .chain([("TRAILER!!!", 0, 1, &b""[..])])
    {
        let (size, length) = (content.len(), name.len() + 1);
        let numbers = [
            1,
            mode,
            0,
            0,
            links,
            0,
            size as u32,
            0,
            0,
            0,
            0,
            length as u32,
            0,
        ];
        out.extend_from_slice(b"070701");
        numbers
            .iter()
            .for_each(|number| write!(out, "{number:08x}").unwrap());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn rpm_of(payload: &[u8]) -> Vec<u8> {
    let header = |entries: u32, data: u32| {
        let mut out = b"\x8e\xad\xe8\x01\0\0\0\0".to_vec();
        out.extend(entries.to_be_bytes());
        out.extend(data.to_be_bytes());
        out.resize(out.len() + entries as usize * 16 + data as usize, 7);
        out
    };
    let mut out = rpm::MAGIC.to_vec();
    out.resize(96, 0);
    out.extend(header(1, 5));
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(header(2, 3));
    out.extend_from_slice(payload);
    out
}

const MODULE: (&str, &[u8]) = ("./lib/modules/6.1/a.ko", b"module");

#[test]
fn files_of_a_deb_are_read_compressed_and_plain() {
    let whole = tar(&[MODULE, ("/boot/vmlinuz-6.1", b"kernel")]);
    for data in [whole.clone(), gzip(&whole)] {
        let found = files(&deb_of(&data)).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            ("lib/modules/6.1/a.ko".into(), b"module".to_vec())
        );
        assert_eq!(found[1].0, "boot/vmlinuz-6.1");
    }
}

#[test]
fn files_of_an_rpm_are_read_without_links_and_directories() {
    let payload = cpio_of(&[
        ("./lib", 0o040_755, 2, b""),
        ("./lib/link", 0o120_777, 1, b"/etc"),
        ("./lib/twice", 0o100_644, 2, b""),
        ("./lib/same", 0o100_644, 2, b"both"),
        ("./lib/one", 0o100_644, 1, b"12345"),
    ]);
    for payload in [payload.clone(), gzip(&payload)] {
        let found = files(&rpm_of(&payload)).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lib/same", "lib/one"]);
        assert_eq!(found[1].1, b"12345");
    }
}

#[test]
fn content_that_is_not_read_is_skipped() {
    let payload = cpio_of(&[("a", 0o100_644, 1, b"12345"), ("b", 0o100_644, 1, b"6")]);
    for package in [
        rpm_of(&payload),
        deb_of(&tar(&[("a", b"12345"), ("b", b"6")])),
    ] {
        let mut names = Vec::new();
        read(&package[..], &mut |path, content| {
            names.push(path.to_owned());
            content.read_exact(&mut [0; 1])
        })
        .unwrap();
        assert_eq!(names, [Path::new("a"), Path::new("b")]);
    }
}

#[test]
fn a_path_that_leads_out_is_an_error() {
    let deep = "d/".repeat(40) + "file";
    let long = "x".repeat(5000);
    for path in ["../etc/passwd", "lib/../../etc", &deep, &long] {
        assert!(files(&deb_of(&tar(&[(path, b"x")]))).is_err(), "{path}");
        assert!(
            files(&rpm_of(&cpio_of(&[(path, 0o100_644, 1, b"x")]))).is_err(),
            "{path}"
        );
    }
    // An absolute one is below.
    let found = files(&rpm_of(&cpio_of(&[("//etc/./passwd", 0o100_644, 1, b"x")]))).unwrap();
    assert_eq!(found[0].0, "etc/passwd");
}

#[test]
fn a_package_that_is_cut_off_anywhere_is_an_error() {
    let payload = cpio_of(&[("a", 0o100_644, 1, b"12345")]);
    let data = tar(&[MODULE]);
    let packages = [
        rpm_of(&payload),
        rpm_of(&gzip(&payload)),
        deb_of(&data),
        deb_of(&gzip(&data)),
    ];
    for package in packages {
        files(&package).unwrap();
        // What is behind the end that tar and gzip mark may be missing.
        for length in 0..package.len() - 520 % package.len() {
            assert!(
                files(&package[..length]).is_err(),
                "{length} of {}",
                package.len()
            );
        }
    }
}

#[test]
fn sizes_that_are_stated_cost_nothing() {
    let mut header = b"\x8e\xad\xe8\x01\0\0\0\0".to_vec();
    header.extend([0xff; 8]);
    let mut rpm = rpm_of(b"");
    rpm.truncate(96);
    rpm.extend(header);
    assert!(files(&rpm).is_err());
    let mut large = cpio_of(&[("a", 0o100_644, 1, b"")]);
    large[54..62].copy_from_slice(b"ffffffff");
    assert!(files(&rpm_of(&large)).is_err());
    let mut name = cpio_of(&[("a", 0o100_644, 1, b"")]);
    name[94..102].copy_from_slice(b"ffffffff");
    assert!(files(&rpm_of(&name)).is_err());
    let huge = ar(&[("data.tar", b"")]);
    let text = String::from_utf8(huge)
        .unwrap()
        .replace("0         `", "9999999999`");
    assert!(files(text.as_bytes()).is_err());
}

#[test]
fn what_is_not_supported_is_said() {
    let said = |package: &[u8]| files(package).unwrap_err().to_string();
    assert_eq!(said(b"PK\x03\x04"), "it is neither a .deb nor an .rpm");
    assert_eq!(
        said(&deb_of(b"BZh9")),
        "its compression by bzip2 is not supported"
    );
    assert_eq!(
        said(&rpm_of(&[b"07070X".as_slice(), &[b'0'; 200]].concat())),
        "its format for large files is not supported"
    );
}

#[test]
fn packages_that_other_programs_compressed_are_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-package");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = files(&std::fs::read(&path).unwrap());
        count += 1;
        let expected: &[_] = match name.split_once('-').unwrap() {
            (_, "out") => {
                assert!(found.is_err());
                continue;
            }
            ("deb", _) => &["boot/vmlinuz-6.1", "lib/modules/6.1/a.ko"],
            _ => &["lib/modules/6.1/vmlinuz"],
        };
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        let names: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, expected, "{name}");
        assert!(
            found.iter().any(|(_, content)| content == b"kernel"),
            "{name}"
        );
    }
    assert_eq!(count, 10);
}
