//! The files that name a system without os-release(5), or with one that says nothing. Pure.

use crate::linux::os_release;
use crate::protocol::disks::System;

/// How a file names the system.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Assignments: DISTRIB_ID, DISTRIB_RELEASE and DISTRIB_DESCRIPTION.
    Distrib,
    /// Nothing but the version of the system with this `ID` and name.
    Version(&'static str, &'static str),
    /// A line with name and version, such as `CentOS release 6.10 (Final)`. The `ID` is that of
    /// [`IDS`], or this one.
    Line(Option<&'static str>),
    /// The file may be empty: that it is there names the system with this `ID` and name.
    Presence(&'static str, &'static str),
    /// The assignment USERLAND_VERSION of FreeBSD's program that prints it.
    FreeBsd,
}

/// The files, in order: what is derived from a distribution often keeps its file too.
const FILES: [(&str, Form); 25] = [
    ("/etc/lsb-release", Form::Distrib),
    ("/etc/openwrt_release", Form::Distrib),
    ("/etc/oracle-release", Form::Line(Some("ol"))),
    ("/etc/centos-release", Form::Line(Some("centos"))),
    ("/etc/fedora-release", Form::Line(Some("fedora"))),
    ("/etc/mageia-release", Form::Line(Some("mageia"))),
    ("/etc/mandriva-release", Form::Line(Some("mandriva"))),
    ("/etc/mandrake-release", Form::Line(Some("mandrake"))),
    ("/etc/redhat-release", Form::Line(None)),
    ("/etc/SuSE-release", Form::Line(None)),
    ("/etc/system-release", Form::Line(None)),
    ("/etc/altlinux-release", Form::Line(Some("altlinux"))),
    ("/etc/pld-release", Form::Line(Some("pld"))),
    ("/etc/photon-release", Form::Line(Some("photon"))),
    ("/etc/gentoo-release", Form::Line(Some("gentoo"))),
    ("/etc/slackware-version", Form::Line(Some("slackware"))),
    ("/etc/void-release", Form::Presence("void", "Void Linux")),
    (
        "/etc/alpine-release",
        Form::Version("alpine", "Alpine Linux"),
    ),
    ("/etc/arch-release", Form::Presence("arch", "Arch Linux")),
    ("/etc/NIXOS", Form::Presence("nixos", "NixOS")),
    (
        "/etc/devuan_version",
        Form::Version("devuan", "Devuan GNU/Linux"),
    ),
    (
        "/etc/debian_version",
        Form::Version("debian", "Debian GNU/Linux"),
    ),
    ("/bin/freebsd-version", Form::FreeBsd),
    // NetBSD and Solaris.
    ("/etc/release", Form::Line(None)),
    // Made for people, with the terminal's name and such.
    ("/etc/issue", Form::Line(None)),
];

/// Beginnings of lines, and the `ID` that os-release would have.
const IDS: [(&str, &str); 12] = [
    ("red hat enterprise linux", "rhel"),
    ("centos", "centos"),
    ("fedora", "fedora"),
    ("scientific linux", "scientific"),
    ("oracle linux", "ol"),
    ("rocky linux", "rocky"),
    ("almalinux", "almalinux"),
    ("suse linux enterprise", "sles"),
    ("opensuse", "opensuse"),
    ("debian gnu/linux", "debian"),
    ("ubuntu", "ubuntu"),
    ("netbsd", "netbsd"),
];

/// The system that the first of the files names, and that file; `read` gives their text.
pub(crate) fn identify(read: impl Fn(&str) -> Option<String>) -> Option<(&'static str, System)> {
    FILES.iter().find_map(|(path, form)| {
        let system = parse(*form, &read(path)?)?;
        Some((*path, system))
    })
}

/// Whether the file shows that a directory is the root of a system. An `issue` is anywhere.
pub(crate) fn is_evidence(path: &str) -> bool {
    path != "/etc/issue"
}

fn parse(form: Form, text: &str) -> Option<System> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    match form {
        Form::Distrib => {
            let field = |name| os_release::field(text.as_bytes(), name);
            let id = field("DISTRIB_ID")?;
            let version = field("DISTRIB_RELEASE");
            let name = field("DISTRIB_DESCRIPTION");
            let plain = || [Some(&*id), version.as_deref()].into_iter().flatten();
            Some(System {
                name: name.or_else(|| Some(plain().collect::<Vec<_>>().join(" "))),
                id: Some(id.to_lowercase()),
                version,
            })
        }
        Form::Version(id, name) => {
            let version = first?;
            Some(System {
                id: Some(id.to_owned()),
                version: Some(version.to_owned()),
                name: Some(format!("{name} {version}")),
            })
        }
        Form::Line(id) => {
            let name = without_escapes(first?)?;
            let lower = name.to_lowercase();
            let known = IDS.iter().find(|(start, _)| lower.starts_with(start));
            let id = known.map(|(_, id)| *id).or(id).map(str::to_owned);
            let version = version_of(text, &name);
            Some(System {
                id,
                version,
                name: Some(name),
            })
        }
        Form::Presence(id, name) => Some(System {
            id: Some(id.to_owned()),
            version: None,
            name: Some(name.to_owned()),
        }),
        Form::FreeBsd => {
            let version = os_release::field(text.as_bytes(), "USERLAND_VERSION")?;
            Some(System {
                id: Some("freebsd".to_owned()),
                name: Some(format!("FreeBSD {version}")),
                version: version.split('-').next().map(str::to_owned),
            })
        }
    }
}

/// A line of issue without what getty(8) replaces, such as `\n` and `\l`.
fn without_escapes(line: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            character => text.push(character),
        }
    }
    let words: Vec<_> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// SuSE's files have a line `VERSION = 12`; else it is the first word of the line that is a number.
fn version_of(text: &str, line: &str) -> Option<String> {
    let assigned = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "VERSION").then(|| value.trim().to_owned())
    });
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut words = line.split([' ', '/']);
    assigned.or_else(|| words.find(is_number).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(files: &[(&str, &str)]) -> String {
        let read = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let (_, system) = identify(read).unwrap();
        let field = |field: Option<String>| field.unwrap_or("-".into());
        format!(
            "{}|{}|{}",
            field(system.name),
            field(system.id),
            field(system.version)
        )
    }

    #[test]
    fn systems_from_before_os_release_have_a_name_an_id_and_a_version() {
        let lsb =
            "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.10\nDISTRIB_DESCRIPTION=\"Ubuntu 10.10\"\n";
        let suse = "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n";
        let freebsd = "#!/bin/sh\nset -e\nUSERLAND_VERSION=\"12.2-RELEASE-p3\"\n";
        for (files, expected) in [
            (
                &[("/etc/debian_version", "5.0.1\n")][..],
                "Debian GNU/Linux 5.0.1|debian|5.0.1",
            ),
            (
                &[
                    ("/etc/lsb-release", lsb),
                    ("/etc/debian_version", "squeeze/sid\n"),
                ],
                "Ubuntu 10.10|ubuntu|10.10",
            ),
            // Red Hat's lsb-release names no distribution.
            (
                &[
                    ("/etc/lsb-release", "LSB_VERSION=base-4.0\n"),
                    ("/etc/redhat-release", "CentOS release 6.10 (Final)\n"),
                ],
                "CentOS release 6.10 (Final)|centos|6.10",
            ),
            (
                &[(
                    "/etc/redhat-release",
                    "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n",
                )],
                "Red Hat Enterprise Linux Server release 5.11 (Tikanga)|rhel|5.11",
            ),
            (
                &[("/etc/SuSE-release", suse)],
                "SUSE Linux Enterprise Server 11 (x86_64)|sles|11",
            ),
            (&[("/etc/arch-release", "")], "Arch Linux|arch|-"),
            (
                &[("/etc/alpine-release", "3.4.6\n")],
                "Alpine Linux 3.4.6|alpine|3.4.6",
            ),
            (
                &[("/etc/slackware-version", "Slackware 14.1\n")],
                "Slackware 14.1|slackware|14.1",
            ),
            (
                &[("/etc/gentoo-release", "Gentoo Base System release 2.2\n")],
                "Gentoo Base System release 2.2|gentoo|2.2",
            ),
            (
                &[("/bin/freebsd-version", freebsd)],
                "FreeBSD 12.2-RELEASE-p3|freebsd|12.2",
            ),
            (
                &[("/etc/release", "NetBSD 9.3/amd64\n")],
                "NetBSD 9.3/amd64|netbsd|9.3",
            ),
            (
                &[("/etc/issue", "\nDebian GNU/Linux 4.0 \\n \\l\n")],
                "Debian GNU/Linux 4.0|debian|4.0",
            ),
        ] {
            assert_eq!(named(files), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(?s).{0,200}") {
            for (_, form) in FILES {
                parse(form, &text);
            }
        }
    }
}
