//! Which root filesystem of an image is meant. Pure.

use anyhow::anyhow;

use crate::inspect::filesystems::main_filesystem;
use crate::launch::Failure;
use crate::protocol::disks::{Root, Survey};

/// The one that `wanted` names, which may be any filesystem; else the only root; else, where no
/// operating system is, the only filesystem.
pub fn choose(survey: &Survey, wanted: Option<&str>) -> Result<Root, Failure> {
    if let Some(wanted) = wanted {
        return named(survey, wanted);
    }
    match &survey.roots[..] {
        [root] => Ok(root.clone()),
        [] => alone(survey),
        roots => Err(several("root filesystems", &list(roots))),
    }
}

fn named(survey: &Survey, wanted: &str) -> Result<Root, Failure> {
    let roots = &survey.roots;
    if let Some(root) = roots.iter().find(|root| name_of(root) == wanted) {
        return Ok(root.clone());
    }
    // The device alone names a root where it has only one.
    let of_device: Vec<_> = roots.iter().filter(|root| root.device == wanted).collect();
    if let [root] = of_device[..] {
        return Ok(root.clone());
    }
    let filesystems = survey.filesystems();
    let found = filesystems.iter().find(|(device, _)| *device == wanted);
    if let (Some((device, content)), true) = (found, of_device.is_empty()) {
        return Ok(Root::alone(device, content.kind));
    }
    let list = match roots.is_empty() {
        true => list_of_filesystems(survey),
        false => list(roots),
    };
    match list.is_empty() {
        true => Err(nothing(survey)),
        false => Err(Failure::with_hint(
            anyhow!("{wanted} is no filesystem of the image, which has:\n{list}"),
            "one of them by --root DEVICE",
        )),
    }
}

fn alone(survey: &Survey) -> Result<Root, Failure> {
    match main_filesystem(survey) {
        Some(found) => Ok(Root::alone(found.device, found.content.kind)),
        None if survey.filesystems().is_empty() => Err(nothing(survey)),
        None => Err(several(
            "filesystems, none with an operating system",
            &list_of_filesystems(survey),
        )),
    }
}

fn several(what: &str, list: &str) -> Failure {
    let number = list.lines().count();
    Failure::with_hint(
        anyhow!("the image holds {number} {what}:\n{list}"),
        "one of them by --root DEVICE",
    )
}

/// As `--root` takes it.
pub fn name_of(root: &Root) -> String {
    match &root.subvolume {
        Some(subvolume) => format!("{}:{subvolume}", root.device),
        None => root.device.clone(),
    }
}

fn list(roots: &[Root]) -> String {
    let line = |root: &Root| {
        let system = root.os.name.as_deref().or(root.os.id.as_deref());
        let system = system.unwrap_or("an unknown system");
        format!("  {}  {system}", name_of(root))
    };
    let lines: Vec<_> = roots.iter().map(line).collect();
    lines.join("\n")
}

fn list_of_filesystems(survey: &Survey) -> String {
    let line = |(device, content): &(&str, &crate::protocol::disks::Content)| {
        let label = content.label.as_deref().unwrap_or_default();
        let line = format!("  {device}  {:?}  {label}", content.kind);
        line.trim_end().to_lowercase()
    };
    let lines: Vec<_> = survey.filesystems().iter().map(line).collect();
    lines.join("\n")
}

fn nothing(survey: &Survey) -> Failure {
    let mut message = "the image holds no filesystem that bivouac can mount".to_owned();
    for warning in &survey.warnings {
        message.push_str(&format!("\n  {warning}"));
    }
    Failure::with_hint(
        anyhow::Error::msg(message),
        "`bivouac inspect IMAGE` shows what is on it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::disks::{Content, Disk, Kind, Partition};

    fn survey(kinds: &[Kind], roots: &[(&str, Option<&str>)]) -> Survey {
        let partitions = kinds.iter().zip(1..).map(|(kind, number)| Partition {
            number,
            device: format!("/dev/sda{number}"),
            start: 0,
            bytes: 0,
            kind: None,
            label: None,
            uuid: None,
            content: Some(Content {
                kind: *kind,
                uuid: None,
                label: None,
                usage: None,
            }),
        });
        let disk = Disk {
            device: "/dev/sda".into(),
            bytes: 0,
            serial: None,
            table: None,
            content: None,
            partitions: partitions.collect(),
        };
        let roots = roots.iter().map(|(device, subvolume)| Root {
            subvolume: subvolume.map(str::to_owned),
            ..Root::alone(device, Kind::Btrfs)
        });
        Survey {
            disks: vec![disk],
            roots: roots.collect(),
            ..Survey::default()
        }
    }

    fn chosen(survey: &Survey, wanted: Option<&str>) -> Result<String, String> {
        choose(survey, wanted)
            .map(|root| name_of(&root))
            .map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn the_only_root_or_else_the_only_filesystem_needs_no_name() {
        let one = survey(&[Kind::Vfat, Kind::Btrfs], &[("/dev/sda2", None)]);
        assert_eq!(chosen(&one, None).unwrap(), "/dev/sda2");
        let data = survey(&[Kind::Ext4], &[]);
        assert_eq!(chosen(&data, None).unwrap(), "/dev/sda1");
        let swap = survey(&[Kind::Swap, Kind::Luks], &[]);
        assert!(chosen(&swap, None).unwrap_err().contains("no filesystem"));
        let two = survey(&[Kind::Ext4, Kind::Vfat], &[]);
        let listed = chosen(&two, None).unwrap_err();
        assert!(listed.contains("/dev/sda1  ext4") && listed.contains("/dev/sda2  vfat"));
    }

    #[test]
    fn of_several_roots_one_is_named() {
        let subvolumes = [("/dev/sda1", Some("@")), ("/dev/sda1", Some("old"))];
        let both = survey(&[Kind::Btrfs, Kind::Vfat], &subvolumes);
        assert!(chosen(&both, None).unwrap_err().contains("/dev/sda1:old"));
        assert_eq!(chosen(&both, Some("/dev/sda1:@")).unwrap(), "/dev/sda1:@");
        assert!(chosen(&both, Some("/dev/sda1")).is_err(), "which of two");
        // Any other filesystem may be looked at too.
        assert_eq!(chosen(&both, Some("/dev/sda2")).unwrap(), "/dev/sda2");
        assert!(chosen(&both, Some("/dev/sdz")).is_err());
    }
}
