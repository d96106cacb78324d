//! Volumes that are made of the disks and partitions which were found: MD arrays first, then
//! LVM, whose physical volumes may lie on an array.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::lvm::group::{Group, Logical, mapper_name, parse};
use super::lvm::label;
use super::lvm::map::{Line, Mapper, line};
use super::modules::Modules;
use super::plan::Known;
use super::{Found, look, raid, sysfs};
use crate::guest::wire::disks::{Content, Kind, Survey, Volume};

/// Assembles every array whose members say how.
pub(super) fn arrays(
    survey: &mut Survey,
    found: &mut Vec<Found>,
    known: &mut Vec<Known>,
    modules: &mut Modules,
) {
    let members = of_kind(found, Kind::Md);
    let members = members
        .map(|member| member.node.clone())
        .collect::<Vec<_>>();
    for array in raid::group(&members) {
        let assembled = raid::assemble(&array, modules);
        let node = assembled.as_ref().ok().and_then(|name| sysfs::one(name));
        let content = node
            .as_ref()
            .and_then(|node| look(node, &mut survey.warnings));
        let device = match &assembled {
            Ok(name) => format!("/dev/{name}"),
            Err(_) => format!("/dev/md/{}", array.name),
        };
        survey.volumes.push(Volume {
            device: device.clone(),
            group: "md".into(),
            name: array.name.clone(),
            bytes: node.as_ref().map_or(0, |node| node.bytes),
            problem: assembled.err(),
            content: content.clone(),
        });
        if let (Some(node), Some(content)) = (node, content) {
            let paths = vec![device, format!("/dev/md/{}", array.name)];
            known.push(known_as(&node.device(), &content, paths));
            found.push(Found {
                node,
                content: Some(content),
            });
        }
    }
}

/// Maps every logical volume that can be mapped.
pub(super) fn logical(
    survey: &mut Survey,
    found: &mut Vec<Found>,
    known: &mut Vec<Known>,
    modules: &mut Modules,
) {
    let physical: Vec<_> = of_kind(found, Kind::Lvm)
        .filter_map(|found| {
            let id = found.content.as_ref()?.uuid.clone()?;
            Some((id, found.node.clone()))
        })
        .collect();
    let groups = groups(&physical, &mut survey.warnings);
    if groups.is_empty() {
        return;
    }
    let mapper = modules
        .load("dm")
        .and_then(|()| Mapper::open())
        .map_err(|error| format!("the kernel's device-mapper: {error}"));
    for group in &groups {
        for volume in &group.volumes {
            let number = |id: &str| {
                let node = physical.iter().find(|(other, _)| other == id);
                node.map(|(_, node)| node.number.clone())
            };
            let mapped =
                table(volume, number).and_then(|table| map(mapper.as_ref(), group, volume, &table));
            let node = mapped.as_ref().ok().and_then(|name| sysfs::one(name));
            let content = node
                .as_ref()
                .and_then(|node| look(node, &mut survey.warnings));
            let device = format!("/dev/mapper/{}", mapper_name(&group.name, &volume.name));
            survey.volumes.push(Volume {
                device: device.clone(),
                group: group.name.clone(),
                name: volume.name.clone(),
                bytes: node.as_ref().map_or(0, |node| node.bytes),
                problem: mapped.err(),
                content: content.clone(),
            });
            if let (Some(node), Some(content)) = (node, content) {
                let short = format!("/dev/{}/{}", group.name, volume.name);
                known.push(known_as(&device, &content, vec![device.clone(), short]));
                found.push(Found {
                    node,
                    content: Some(content),
                });
            }
        }
    }
}

fn of_kind(found: &[Found], kind: Kind) -> impl Iterator<Item = &Found> {
    found
        .iter()
        .filter(move |found| found.content.as_ref().is_some_and(|c| c.kind == kind))
}

/// What an fstab can name of `content`, besides its place in a partition table.
pub(super) fn known_as(device: &str, content: &Content, paths: Vec<String>) -> Known {
    Known {
        device: device.to_owned(),
        kind: content.kind,
        uuid: content.uuid.clone(),
        label: content.label.clone(),
        part_uuid: None,
        part_label: None,
        paths,
    }
}

/// Each group once, by the newest of the copies on its physical volumes.
fn groups(physical: &[(String, sysfs::Node)], warnings: &mut Vec<String>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (_, node) in physical {
        let text = node.open().ok().and_then(|device| label::metadata(&device));
        // A physical volume may hold no copy, or belong to no group yet.
        let Some(text) = text else { continue };
        let Some(group) = parse(&text) else {
            warnings.push(format!("{}: its LVM metadata is broken", node.device()));
            continue;
        };
        if group.more > 0 {
            let (device, more) = (node.device(), group.more);
            warnings.push(format!(
                "{device}: {more} LVM volumes were left out: too many"
            ));
        }
        match groups.iter_mut().find(|other| other.id == group.id) {
            Some(other) if other.sequence >= group.sequence => {}
            Some(other) => *other = group,
            None => groups.push(group),
        }
    }
    groups
}

fn table(volume: &Logical, number: impl Fn(&str) -> Option<String>) -> Result<Vec<Line>, String> {
    let segments = volume.segments.as_ref().map_err(String::clone)?;
    let lines = segments.iter().map(|segment| line(segment, &number));
    let lines: Result<_, _> = lines.collect();
    lines.map_err(|id| format!("the physical volume {id} is missing"))
}

/// Makes the device, with the names that udev would give it; gives back the kernel's name.
fn map(
    mapper: Result<&Mapper, &String>,
    group: &Group,
    volume: &Logical,
    table: &[Line],
) -> Result<String, String> {
    let mapper = mapper.map_err(String::clone)?;
    let name = mapper_name(&group.name, &volume.name);
    let id = format!("LVM-{}{}", group.id, volume.id).replace('-', "");
    let id = id.replacen("LVM", "LVM-", 1);
    let minor = mapper
        .create(&name, &id, table)
        .map_err(|error| format!("the kernel refused its table: {error}"))?;
    let node = format!("dm-{minor}");
    let short = Path::new("/dev").join(&group.name);
    // Both are names only: what fails here is still found by its number.
    let _ = symlink(format!("../{node}"), format!("/dev/mapper/{name}"));
    let _ = fs::create_dir(&short);
    let _ = symlink(format!("../{node}"), short.join(&volume.name));
    Ok(node)
}
