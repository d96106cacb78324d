//! The names that encrypted volumes have in a system: those of its crypttab(5).

use super::block_id::{BlockId, find};
use super::encrypted::opened_path;
use super::system_tree::SystemTree;
use crate::protocol::disks::Kind;

const MOST_LINES: usize = 128;

/// The devices `known`, with the names that the system on the device `root` has for encrypted volumes
/// that are open.
pub(crate) fn named(known: Vec<BlockId>, root: &str, tree: &SystemTree) -> Vec<BlockId> {
    match tree.text("/etc/crypttab") {
        Some(text) => with_names(known, root, &text),
        None => known,
    }
}

fn with_names(mut known: Vec<BlockId>, root: &str, crypttab: &str) -> Vec<BlockId> {
    for line in crypttab.lines().take(MOST_LINES) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(source)) = (words.next(), words.next()) else {
            continue;
        };
        let encrypted = find(source, root, &known).filter(|found| found.kind == Kind::Luks);
        let Some(uuid) = encrypted.and_then(|found| found.uuid.as_ref()) else {
            continue;
        };
        let path = opened_path(uuid);
        // Partitions inside of it have its name too.
        for device in &mut known {
            if let Some(part) = device.device.strip_prefix(&path) {
                device.paths.push(format!("/dev/mapper/{name}{part}"));
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::Content;

    #[test]
    fn an_open_volume_has_the_name_of_its_line() {
        let device = |device: &str, kind, uuid: &str| {
            let content = Content {
                kind,
                uuid: Some(uuid.to_owned()),
                label: None,
                usage: None,
            };
            BlockId::new(device, &content, vec![device.to_owned()])
        };
        let known = vec![
            device("/dev/vda2", Kind::Luks, "aa-1"),
            device("/dev/vda3", Kind::Ext4, "bb-2"),
            device("/dev/mapper/luks-aa-1", Kind::Ext4, "cc-3"),
        ];
        let text = "# name source key options\n\nhome UUID=AA-1 none luks\nother UUID=bb-2 none\n\
                    swap /dev/vda9 /dev/urandom swap\nalso /dev/vda2\n";
        let named = with_names(known, "/dev/vda3", text);
        assert_eq!(
            named[2].paths,
            [
                "/dev/mapper/luks-aa-1",
                "/dev/mapper/home",
                "/dev/mapper/also"
            ]
        );
        assert_eq!(named[1].paths, ["/dev/vda3"]);
    }
}
