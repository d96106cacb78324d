//! The database of dpkg: records of `Field: value` lines (deb-control(5), dpkg-query(1)).

use super::package::{Package, records, text};

/// The states in which a package's files are unpacked and configured (dpkg(1), "Package states").
const INSTALLED: [&[u8]; 3] = [b"installed", b"triggers-awaited", b"triggers-pending"];

/// The installed packages of a status file. In images without dpkg each package has a file of its own
/// in `status.d`, whose record has no `Status`.
pub fn packages(status: &[u8]) -> Vec<Package> {
    records(status).filter_map(package).collect()
}

fn package<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Package> {
    let mut package = Package::default();
    let mut is_installed = true;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let value = &line[colon + 1..];
        match &line[..colon] {
            b"Package" => package.name = text(value)?,
            b"Version" => package.version = text(value).unwrap_or_default(),
            b"Architecture" => package.architecture = text(value),
            // `NAME (VERSION)` if the version is another one.
            b"Source" => {
                let name = value.split(|byte| *byte == b'(').next();
                package.source = name.and_then(text);
            }
            b"Maintainer" => package.vendor = text(value),
            b"Status" => is_installed = is_state_installed(value),
            _ => {}
        }
    }
    package.source.get_or_insert_with(|| package.name.clone());
    (is_installed && !package.name.is_empty()).then_some(package)
}

/// Of a status `WANTED FLAG STATE`.
fn is_state_installed(status: &[u8]) -> bool {
    let mut words = status.trim_ascii().rsplit(|byte| *byte == b' ');
    words.next().is_some_and(|state| INSTALLED.contains(&state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_a_package() {
        for (status, is) in [
            (&b" install ok installed"[..], true),
            (b" hold ok installed", true),
            (b" install ok triggers-pending", true),
            (b" deinstall ok config-files", false),
            (b" install ok half-installed", false),
            (b" install ok not-installed", false),
            (b"", false),
        ] {
            assert_eq!(is_state_installed(status), is);
        }
    }

    #[test]
    fn a_record_gives_name_version_architecture_and_source() {
        let status = b"Package: libc6\nStatus: install ok installed\nMaintainer: Me <me@x>\n\
            Architecture: amd64\nSource: glibc (2.36-9)\nVersion: 1:2.36-9+b1\nDescription: C\n \
            Package: no\n .\n\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: bash\nStatus: install ok installed\nVersion: 5\n";
        let found = packages(status);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Package {
                name: "libc6".to_owned(),
                version: "1:2.36-9+b1".to_owned(),
                architecture: Some("amd64".to_owned()),
                source: Some("glibc".to_owned()),
                vendor: Some("Me <me@x>".to_owned()),
                license: None,
            }
        );
        assert_eq!(found[1].source.as_deref(), Some("bash"));
        assert!(packages(b"\n\nVersion: 1\n").is_empty());
    }
}
