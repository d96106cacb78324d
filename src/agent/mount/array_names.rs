//! The names that MD arrays have in a system: those of its mdadm.conf come before those that their
//! superblocks suggest.

use super::block_id::BlockId;
use super::system_tree::SystemTree;
use crate::block::mdadm_conf::{self, ArrayLine, digits};

/// The links of udev to an array, by the UUID and by `HOST:NAME` (63-md-raid-arrays.rules).
pub(crate) const BY_UUID: &str = "/dev/disk/by-id/md-uuid-";
pub(crate) const BY_NAME: &str = "/dev/disk/by-id/md-name-";

const CONF: [&str; 2] = ["/etc/mdadm/mdadm.conf", "/etc/mdadm.conf"];

/// The arrays that a system names.
pub(crate) fn of_system(tree: &SystemTree) -> Vec<ArrayLine> {
    let text = CONF.iter().find_map(|path| tree.text(path));
    mdadm_conf::parse(&text.unwrap_or_default())
}

/// The path of a partition of the array at `path`, as udev and the kernel name it.
pub(crate) fn partition_name(path: &str, number: u32) -> String {
    let is_id = path.starts_with("/dev/disk/");
    let digit = path.ends_with(|last: char| last.is_ascii_digit());
    match (is_id, digit) {
        (true, _) => format!("{path}-part{number}"),
        (false, true) => format!("{path}p{number}"),
        (false, false) => format!("{path}{number}"),
    }
}

/// The devices `known`, with the names that a system has for the arrays among them.
pub(crate) fn named(known: &[BlockId], arrays: &[ArrayLine]) -> Vec<BlockId> {
    let mut named = known.to_vec();
    for array in arrays {
        let found: Vec<_> = (named.iter().enumerate())
            .filter_map(|(index, device)| Some((index, partition_of(device, array)?)))
            .collect();
        if found.is_empty() {
            continue;
        }
        for (index, part) in found {
            let names = nodes(&array.device).into_iter().map(|node| match part {
                Some(number) => partition_name(&node, number),
                None => node,
            });
            let names: Vec<_> = names.collect();
            // Another array does not have this name then.
            for device in &mut named {
                device.paths.retain(|path| !names.contains(path));
            }
            named[index].paths.extend(names);
        }
    }
    named
}

/// Whether `device` is this array, or a partition of it and which.
fn partition_of(device: &BlockId, array: &ArrayLine) -> Option<Option<u32>> {
    device.paths.iter().find_map(|path| {
        let (base, part) = match path.rsplit_once("-part") {
            Some((base, number)) => (base, Some(number.parse().ok()?)),
            None => (path.as_str(), None),
        };
        let is_it = match (base.strip_prefix(BY_UUID), base.strip_prefix(BY_NAME)) {
            (Some(uuid), _) => array.uuid.as_ref() == Some(&digits(uuid)),
            // A UUID says more than a name.
            (_, Some(name)) if array.uuid.is_none() => array.name.as_ref().is_some_and(|wanted| {
                let short = name.split_once(':').map(|(_, short)| short);
                wanted == name || Some(wanted.as_str()) == short
            }),
            _ => false,
        };
        is_it.then_some(part)
    })
}

/// The paths that `device` of mdadm.conf makes: a number is a node and a link.
fn nodes(device: &str) -> Vec<String> {
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    let number = device.strip_prefix("/dev/md/");
    let number = number.or_else(|| device.strip_prefix("/dev/md"));
    match number.filter(|name| is_number(name)) {
        Some(number) => vec![format!("/dev/md{number}"), format!("/dev/md/{number}")],
        None => vec![device.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::{Content, Kind};

    fn array(device: &str, uuid: &str, name: &str) -> BlockId {
        let content = Content {
            kind: Kind::Ext4,
            uuid: None,
            label: None,
            usage: None,
        };
        let paths = [
            device.to_owned(),
            format!("{BY_UUID}{uuid}"),
            format!("{BY_NAME}{name}"),
        ];
        BlockId::new(device, &content, paths.into())
    }

    fn found<'a>(known: &'a [BlockId], path: &str) -> Vec<&'a str> {
        let has = |device: &&BlockId| device.paths.iter().any(|own| own == path);
        let found = known.iter().filter(has);
        found.map(|device| device.device.as_str()).collect()
    }

    #[test]
    fn what_mdadm_conf_says_is_the_name() {
        let (first, second) = ("00000001:2:3:4", "0000000a:b:c:d");
        let mut part = array("/dev/md127p1", "x", "y");
        part.paths.push(format!("{BY_UUID}{second}-part1"));
        let known = [
            array("/dev/md0", first, "there:0"),
            array("/dev/md127", second, "here:root"),
            part,
        ];
        let conf = format!("ARRAY /dev/md0 UUID={second}\nARRAY /dev/md/old name=there:0\n");
        let named = named(&known, &mdadm_conf::parse(&conf));
        assert_eq!(found(&named, "/dev/md0"), ["/dev/md127"]);
        assert_eq!(found(&named, "/dev/md/0"), ["/dev/md127"]);
        assert_eq!(found(&named, "/dev/md0p1"), ["/dev/md127p1"]);
        assert_eq!(found(&named, "/dev/md/old"), ["/dev/md0"]);
        assert_eq!(named.len(), known.len());
    }
}
