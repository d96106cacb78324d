//! The database of apk: records of lines with a letter, a colon and a value, as in the index of a
//! repository (apk-package(5), "installed").

use super::package::{Package, records, text};

/// The packages of `lib/apk/db/installed`.
pub fn packages(installed: &[u8]) -> Vec<Package> {
    records(installed).filter_map(package).collect()
}

fn package<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Package> {
    let mut package = Package::default();
    for line in lines {
        let [letter, b':', value @ ..] = line else {
            continue;
        };
        match letter {
            b'P' => package.name = text(value)?,
            b'V' => package.version = text(value).unwrap_or_default(),
            b'A' => package.architecture = text(value),
            b'o' => package.source = text(value),
            b'm' => package.vendor = text(value),
            b'L' => package.license = text(value),
            _ => {}
        }
    }
    (!package.name.is_empty()).then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_what_apk_lists() {
        let installed = b"C:Q1pSfZ=\nP:musl\nV:1.2.4-r2\nA:x86_64\nS:1\nL:MIT\no:musl\n\
            m:Natanael <n@x>\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:busybox\nV:1.36\n\nV:9\n";
        let found = packages(installed);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].version, "1.2.4-r2");
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
        assert_eq!(found[0].source.as_deref(), Some("musl"));
        assert_eq!(found[1].name, "busybox");
        assert_eq!(found[1].architecture, None);
    }
}
