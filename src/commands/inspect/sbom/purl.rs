//! Package URLs (<https://github.com/package-url/purl-spec>): names of packages that vulnerability
//! databases know.

use super::System;
use crate::inspect::packages::Package;

/// The package URL of a package of `format` in `system`.
pub fn purl(format: &str, system: &System, package: &Package) -> String {
    let id = system.os.id.as_deref().unwrap_or("unknown");
    let (kind, namespace) = match format {
        "pacman" => ("alpm", id),
        format => (format, id),
    };
    // Of rpm the epoch is a qualifier; elsewhere it is a part of the version.
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if format == "rpm" => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    let namespace = encoded(&namespace.to_lowercase());
    let name = match format {
        "rpm" => encoded(&package.name),
        _ => encoded(&package.name.to_lowercase()),
    };
    let mut text = format!("pkg:{kind}/{namespace}/{name}");
    if !version.is_empty() {
        text.push('@');
        text.push_str(&encoded(version));
    }
    let release = system.os.version.as_ref();
    let distro = release.map_or_else(|| id.to_owned(), |release| format!("{id}-{release}"));
    let upstream = package.source.as_ref();
    let qualifiers = [
        ("arch", package.architecture.clone()),
        ("distro", system.os.id.is_some().then_some(distro)),
        ("epoch", epoch.map(str::to_owned)),
        (
            "upstream",
            upstream.filter(|source| **source != package.name).cloned(),
        ),
    ];
    let mut mark = '?';
    for (key, value) in qualifiers {
        if let Some(value) = value {
            text.push(mark);
            text.push_str(&format!("{key}={}", encoded(&value)));
            mark = '&';
        }
    }
    text
}

/// Percent-encoded but for what the specification lets stand.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::facts::Facts;
    use crate::protocol::disks;

    fn system(id: Option<&str>, version: Option<&str>) -> System {
        System {
            root: "/dev/vda1".to_owned(),
            os: disks::System {
                name: None,
                id: id.map(str::to_owned),
                version: version.map(str::to_owned),
            },
            facts: Facts::default(),
            mounts: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn package(name: &str, version: &str, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: Some("amd64".to_owned()),
            source: Some(source.to_owned()),
            ..Package::default()
        }
    }

    /// The examples of the specification, with these versions.
    #[test]
    fn packages_of_each_format_have_the_names_of_the_specification() {
        let debian = system(Some("debian"), Some("12"));
        assert_eq!(
            purl(
                "deb",
                &debian,
                &package("libstdc++6", "1:2.3+b1~x", "gcc-12")
            ),
            "pkg:deb/debian/libstdc%2B%2B6@1:2.3%2Bb1~x?arch=amd64&distro=debian-12&upstream=gcc-12"
        );
        let fedora = system(Some("fedora"), Some("39"));
        assert_eq!(
            purl(
                "rpm",
                &fedora,
                &package("ImageMagick", "1:7.1-1.fc39", "ImageMagick")
            ),
            "pkg:rpm/fedora/ImageMagick@7.1-1.fc39?arch=amd64&distro=fedora-39&epoch=1"
        );
        let arch = system(Some("arch"), None);
        let found = purl("pacman", &arch, &package("bash", "5.2-1", "bash"));
        assert_eq!(found, "pkg:alpm/arch/bash@5.2-1?arch=amd64&distro=arch");
        let unknown = system(None, None);
        let found = purl("apk", &unknown, &package("a/b?c", "", "a/b?c"));
        assert_eq!(found, "pkg:apk/unknown/a%2Fb%3Fc?arch=amd64");
    }
}
