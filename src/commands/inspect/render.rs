//! What is found in an image, for people. All text from the image is escaped: a label may hold
//! anything.

use std::fmt::{self, Display, Formatter};

use super::report::{ImageInfo, System};
use crate::inspect::last_boot::{BootEvidence, LastBoot};
use crate::protocol::disks::{Content, Disk, Mount, Partition};
use crate::text::escape::{Plain, as_path};
use crate::text::size::short;
use crate::text::table::align;
use crate::text::time;

/// Types of partitions that have a name; the others are shown as they stand.
const TYPES: [(&str, &str); 17] = [
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root, x86-64"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "Linux /usr, x86-64"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux boot"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "basic data"),
    ("0x83", "Linux"),
    ("0x82", "Linux swap"),
    ("0x8e", "Linux LVM"),
    ("0xfd", "Linux RAID"),
    ("0xef", "EFI system"),
    ("0x5", "extended"),
];

impl Display for ImageInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ImageInfo {
            image,
            in_use,
            disks,
            volumes,
            systems,
            warnings: _,
            remarks: _,
        } = self;
        writeln!(f, "{}", plain(&image.0))?;
        if *in_use {
            writeln!(f, "  in use: another process was writing to it")?;
        }
        for disk in disks {
            show_disk(f, disk)?;
        }
        for volume in volumes {
            let size = short(volume.bytes);
            write!(f, "  {}  {size}", text(&volume.device))?;
            show_content(f, volume.content.as_ref())?;
            if let Some(problem) = &volume.problem {
                write!(f, "  ({})", text(problem))?;
            }
            writeln!(f)?;
        }
        for system in systems {
            show_system(f, system)?;
        }
        Ok(())
    }
}

fn show_disk(f: &mut Formatter<'_>, disk: &Disk) -> fmt::Result {
    write!(f, "  {}  {}", text(&disk.device), short(disk.bytes))?;
    match &disk.table {
        Some(table) => {
            write!(f, "  {}", table.kind.name())?;
            if !table.id.is_empty() {
                write!(f, " {}", text(&table.id))?;
            }
            if let Some(evidence) = &table.evidence {
                write!(f, " ({})", text(evidence))?;
            }
        }
        None if disk.content.is_none() => write!(f, "  no partition table")?,
        None => {}
    }
    show_content(f, disk.content.as_ref())?;
    writeln!(f)?;
    for part in &disk.partitions {
        show_partition(f, part)?;
    }
    Ok(())
}

fn show_partition(f: &mut Formatter<'_>, part: &Partition) -> fmt::Result {
    let device = text(&part.device);
    write!(f, "    {device}  {:>5}", short(part.bytes))?;
    show_content(f, part.content.as_ref())?;
    if let Some(kind) = &part.kind {
        let known = TYPES.iter().find(|(id, _)| id == kind);
        match known {
            Some((_, name)) => write!(f, "  [{name}]")?,
            None => write!(f, "  [{}]", text(kind))?,
        }
    }
    if let Some(label) = part.label.as_deref().filter(|label| !label.is_empty()) {
        write!(f, "  name={}", text(label))?;
    }
    writeln!(f)
}

fn show_content(f: &mut Formatter<'_>, content: Option<&Content>) -> fmt::Result {
    let Some(content) = content else {
        return Ok(());
    };
    write!(f, "  {}", content.kind.name())?;
    if let Some(label) = content.label.as_deref().filter(|label| !label.is_empty()) {
        write!(f, " label={}", text(label))?;
    }
    if let Some(uuid) = &content.uuid {
        write!(f, " uuid={}", text(uuid))?;
    }
    let Some(usage) = &content.usage else {
        return Ok(());
    };
    if let (Some(size), Some(used)) = (usage.size, usage.used) {
        write!(f, ", {} of {} used", short(used), short(size))?;
    }
    if let Some(error) = &usage.error {
        write!(f, ", not mounted: {}", text(error))?;
    }
    Ok(())
}

fn show_system(f: &mut Formatter<'_>, system: &System) -> fmt::Result {
    let System { os, facts, .. } = system;
    let name = os.name.as_deref().or(os.id.as_deref());
    writeln!(f, "{}", text(name.unwrap_or("an unknown system")))?;
    let mut field = |name: &str, value: Option<String>| match value {
        Some(value) => writeln!(f, "  {name:<13} {value}"),
        None => Ok(()),
    };
    field("root", Some(text(&system.root)))?;
    let words = [&os.id, &os.version];
    let words: Vec<_> = words.into_iter().flatten().map(|word| text(word)).collect();
    field("id", (!words.is_empty()).then(|| words.join(" ")))?;
    field("architecture", facts.architecture.as_deref().map(text))?;
    field("hostname", facts.hostname.as_deref().map(text))?;
    field("init", facts.init.map(str::to_owned))?;
    for kernel in &facts.kernels {
        let image = kernel.image.as_deref().map(text);
        let image = image.unwrap_or_else(|| "no image, modules only".to_owned());
        field(
            "kernel",
            Some(format!("{}  ({image})", text(&kernel.release))),
        )?;
    }
    field(
        "packages",
        facts.packages.as_ref().map(|packages| {
            let number = packages.installed.map(|number| number.to_string());
            let number = number.unwrap_or_else(|| "an unknown number".to_owned());
            format!("{number}  ({}, {})", packages.format, packages.manager)
        }),
    )?;
    let services = facts.services.iter().map(|name| text(name));
    let services = services.collect::<Vec<_>>().join(", ");
    field("services", (!services.is_empty()).then_some(services))?;
    let locale = &facts.locale;
    field("language", locale.language.as_deref().map(text))?;
    let languages = locale.languages.iter().map(|name| text(name));
    let languages = languages.collect::<Vec<_>>().join(", ");
    field("languages", (!languages.is_empty()).then_some(languages))?;
    field("keyboard", locale.keyboard.as_deref().map(text))?;
    field("time zone", locale.timezone.as_deref().map(text))?;
    for user in &facts.users {
        let line = format!(
            "{}  uid {}  {}",
            text(&user.name),
            user.uid,
            text(&user.shell)
        );
        field("user", Some(line))?;
    }
    field("last boot", Some(boot(facts.last_boot.as_ref())))?;
    for mount in &system.mounts {
        field("mount", Some(show_mount(mount)))?;
    }
    for line in &system.left_out {
        let (source, target) = (text(&line.source), text(&line.target));
        field(
            "not mounted",
            Some(format!("{source} on {target}: {}", text(&line.reason))),
        )?;
    }
    Ok(())
}

/// The packages of each system: name, version, architecture and source.
pub struct PackageTable<'a>(pub &'a ImageInfo);

impl Display for PackageTable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for system in &self.0.systems {
            let list = system.facts.packages.iter();
            let list = list.flat_map(|packages| packages.list.iter().flatten());
            let or_none =
                |text: &Option<String>| text.as_deref().map_or("-".to_owned(), self::text);
            let rows = list.map(|package| {
                [
                    text(&package.name),
                    text(&package.version),
                    or_none(&package.architecture),
                    or_none(&package.source),
                ]
            });
            for line in align(&rows.collect::<Vec<_>>(), &[0, 1, 2, 3]) {
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

fn boot(boot: Option<&LastBoot>) -> String {
    match boot {
        None => "none that left a trace".to_owned(),
        Some(boot) => {
            let what = match boot.what {
                BootEvidence::Started => "",
                BootEvidence::Running => "running at ",
            };
            let time = time::as_rfc3339((boot.seconds, 0));
            format!("{what}{time}  ({})", text(&boot.evidence))
        }
    }
}

fn show_mount(mount: &Mount) -> String {
    let kind = match mount.kind {
        Some(kind) => kind.name(),
        None if mount.is_in_memory() => "in memory",
        None => "bind",
    };
    let (source, target) = (text(&mount.source), text(&mount.target));
    let directory = mount.directory.as_deref().map(text).unwrap_or_default();
    let mut line = format!("{source}{directory} on {target}  {kind}");
    if !mount.options.is_empty() {
        line.push_str(&format!(" ({})", text(&mount.options.join(","))));
    }
    line
}

fn text(text: &str) -> String {
    plain(text.as_bytes())
}

fn plain(bytes: &[u8]) -> String {
    Plain(as_path(bytes)).to_string()
}
