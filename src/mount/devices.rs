//! The disks, partitions and volumes of an image as files.

use std::collections::BTreeMap;

use super::listing::{Listing, is_name, split};
use super::listings::Listings;
use super::nodes::{Facts, Known};
use super::tree::Tree;
use crate::protocol::disks::Survey;
use crate::protocol::{FileKind, Stat, TreeDetail};
use crate::session::{Session, SessionError};

/// Where the guest has its devices.
const DEVICES: &str = "/dev";

impl Tree {
    /// The devices of a survey, by their names below [`DEVICES`].
    pub async fn of_devices(session: Session, survey: &Survey) -> Result<Self, SessionError> {
        let listings = Listings::of(session.clone(), DEVICES, listings(survey));
        Self::of(session, DEVICES, listings).await
    }
}

/// All devices, each with its size.
fn devices(survey: &Survey) -> impl Iterator<Item = (&str, u64)> {
    let disks = survey.disks.iter().flat_map(|disk| {
        let parts = disk.partitions.iter();
        let parts = parts.map(|part| (&part.device[..], part.bytes));
        std::iter::once((&disk.device[..], disk.bytes)).chain(parts)
    });
    let volumes = survey
        .volumes
        .iter()
        .filter(|volume| volume.problem.is_none());
    disks.chain(volumes.map(|volume| (&volume.device[..], volume.bytes)))
}

/// Every directory, by its path.
fn listings(survey: &Survey) -> Vec<(Vec<u8>, Listing)> {
    let mut directories: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Facts>> = BTreeMap::new();
    directories.entry(Vec::new()).or_default();
    let mut inode = 1;
    for (device, bytes) in devices(survey) {
        let Some(path) = device.strip_prefix(DEVICES).filter(|path| is_path(path)) else {
            continue;
        };
        let (mut path, mut facts) = (path.as_bytes().to_vec(), facts(FileKind::File, bytes));
        // And the directories that it is in.
        while !path.is_empty() {
            let (directory, name) = split(&path);
            let (directory, name) = (directory.to_vec(), name.to_vec());
            inode += 1;
            facts.stat.inode = inode;
            let entries = directories.entry(directory.clone()).or_default();
            entries.entry(name).or_insert(facts);
            (path, facts) = (directory, self::facts(FileKind::Directory, 0));
        }
    }
    let directories = directories.into_iter();
    let listing = |(path, entries): (_, BTreeMap<_, _>)| {
        let entries = entries.into_iter();
        let entries = entries.map(|(name, facts)| (name, Known::Facts(facts)));
        (
            path,
            Listing::new(entries.collect(), TreeDetail::Attributes),
        )
    };
    directories.map(listing).collect()
}

/// Whether it leads down from a directory. The survey is the guest's.
fn is_path(path: &str) -> bool {
    let names = path.strip_prefix('/').map(|rest| rest.split('/'));
    names.is_some_and(|mut names| names.all(|name| is_name(name.as_bytes())))
}

fn facts(kind: FileKind, size: u64) -> Facts {
    let is_directory = kind == FileKind::Directory;
    let stat = Stat {
        kind,
        mode: if is_directory { 0o555 } else { 0o444 },
        links: 1,
        size,
        blocks: size / 512,
        ..Stat::default()
    };
    Facts {
        stat,
        link: None,
        attributes: Some(Default::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::listing::joined;
    use crate::protocol::disks::{Disk, Volume};

    #[test]
    fn each_device_is_a_file_of_its_size_in_the_directory_of_its_name() {
        let volume = |device: &str, problem: Option<&str>| Volume {
            device: device.into(),
            group: "vg".into(),
            name: "a".into(),
            bytes: 512,
            problem: problem.map(str::to_owned),
            content: None,
        };
        let survey = Survey {
            disks: vec![Disk {
                device: "/dev/vda".into(),
                bytes: 4096,
                serial: None,
                table: None,
                content: None,
                partitions: vec![],
            }],
            volumes: vec![
                volume("/dev/mapper/vg-a", None),
                volume("/dev/mapper/vg-b", None),
                volume("/dev/mapper/vg-c", Some("missing")),
                // What no survey has, unless the guest lies.
                volume("/dev/../etc/passwd", None),
                volume("/dev//a", None),
                volume("/devices/a", None),
                volume("/dev", None),
            ],
            ..Survey::default()
        };
        let listings = listings(&survey);
        let found = listings.iter().flat_map(|(path, listing)| {
            let entries = listing.entries.iter();
            entries.map(|(name, known)| {
                let path = String::from_utf8(joined(path, name)).unwrap();
                let stat = &known.facts().unwrap().stat;
                (path, stat.kind, stat.size)
            })
        });
        let mut found: Vec<_> = found.collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let file = |path: &str, size| (path.to_owned(), FileKind::File, size);
        let directory = ("/mapper".to_owned(), FileKind::Directory, 0);
        let volumes = ["/mapper/vg-a", "/mapper/vg-b"].map(|path| file(path, 512));
        let [one, other] = volumes;
        assert_eq!(found, [directory, one, other, file("/vda", 4096)]);
    }
}
