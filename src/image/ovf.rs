//! The descriptor of a virtual machine in an OVA (DMTF DSP0243): which files of the archive are its
//! disks. Pure, and what it reads is untrusted: a name leads to a file of the archive or is refused.

use roxmltree::{Document, Node, ParsingOptions};

use crate::text::escape::Untrusted;

/// The largest descriptor in bytes, the most nodes of its XML, and the most disks of a machine.
pub const LARGEST: u64 = 4 << 20;
const MOST_NODES: u32 = 100_000;
const MOST_DISKS: usize = 64;

/// What is on a disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskContent {
    /// A file of the archive, by its path relative to the descriptor.
    File(String),
    /// Nothing yet: so many bytes.
    Empty(u64),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OvfError {
    #[error("its OVF is no XML that is understood: {}", Untrusted(.0))]
    Xml(String),
    #[error("its OVF names {}, which does not lie in the archive", Untrusted(.0))]
    Outside(String),
    #[error("its OVF describes {0} virtual machines")]
    Machines(usize),
    #[error("its OVF describes more than {MOST_DISKS} disks")]
    TooMany,
    #[error("its OVF describes no disk")]
    None,
    #[error("the disk {} of its OVF {why}", Untrusted(.name))]
    Disk { name: String, why: &'static str },
}

/// The disks of the machine: in the order of its hardware, then those that it does not mention.
pub fn disks(text: &str) -> Result<Vec<DiskContent>, OvfError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = ParsingOptions {
        // No entities.
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options);
    let document = document.map_err(|error| OvfError::Xml(error.to_string()))?;
    let all = |name: &'static str| {
        let nodes = document.descendants();
        nodes.filter(move |node| node.is_element() && node.tag_name().name() == name)
    };
    // Version 0.9 has `Content` for it.
    let machines = all("VirtualSystem").chain(all("Content")).count();
    if machines > 1 {
        return Err(OvfError::Machines(machines));
    }
    let hardware: Vec<&str> = all("HostResource")
        .filter_map(|node| Some(node.text()?.trim().rsplit_once("/disk/")?.1))
        .collect();
    let mut disks: Vec<Node> = all("Disk").collect();
    match disks.len() {
        0 => return Err(OvfError::None),
        1..=MOST_DISKS => {}
        _ => return Err(OvfError::TooMany),
    }
    disks.sort_by_cached_key(|disk| {
        let id = attribute(disk, "diskId").unwrap_or_default();
        let at = hardware.iter().position(|used| *used == id);
        at.unwrap_or(hardware.len())
    });
    let files: Vec<Node> = all("File").collect();
    disks.iter().map(|disk| content(disk, &files)).collect()
}

fn content(disk: &Node, files: &[Node]) -> Result<DiskContent, OvfError> {
    let id = attribute(disk, "diskId").unwrap_or_default();
    let bad = |why| OvfError::Disk {
        name: id.to_owned(),
        why,
    };
    if attribute(disk, "parentRef").is_some_and(|parent| !parent.is_empty()) {
        return Err(bad("lies on another"));
    }
    let Some(wanted) = attribute(disk, "fileRef").filter(|wanted| !wanted.is_empty()) else {
        let bytes = capacity(disk).filter(|bytes| (1..=1 << 50).contains(bytes));
        let bytes = bytes.ok_or_else(|| bad("has neither a file nor a size"))?;
        return Ok(DiskContent::Empty(bytes));
    };
    let file = files
        .iter()
        .find(|file| attribute(file, "id") == Some(wanted));
    let file = file.ok_or_else(|| bad("has a file that is not described"))?;
    if attribute(file, "chunkSize").is_some() {
        return Err(bad("is split into several files"));
    }
    let name = attribute(file, "href").unwrap_or_default();
    let is_below = !name.contains(':') && !name.starts_with('/');
    match is_below && name.split('/').all(|part| !matches!(part, "" | "..")) {
        true => Ok(DiskContent::File(name.to_owned())),
        false => Err(OvfError::Outside(name.to_owned())),
    }
}

/// Whatever its namespace, which differs by version.
fn attribute<'a>(node: &Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut attributes = node.attributes();
    let found = attributes.find(|attribute| attribute.name() == name)?;
    Some(found.value())
}

/// In bytes: a number, and its unit as in `byte * 2^30`.
fn capacity(disk: &Node) -> Option<u64> {
    let number: u64 = attribute(disk, "capacity")?.trim().parse().ok()?;
    let unit = attribute(disk, "capacityAllocationUnits").unwrap_or("byte");
    let mut unit = unit.split('*').map(str::trim);
    if unit.next() != Some("byte") {
        return None;
    }
    unit.try_fold(number, |product, factor| {
        let factor = match factor.split_once('^') {
            Some((base, power)) => {
                let base: u64 = base.trim().parse().ok()?;
                base.checked_pow(power.trim().parse().ok()?)?
            }
            None => factor.parse().ok()?,
        };
        product.checked_mul(factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(files: &str, disks: &str, hardware: &str) -> String {
        format!(
            r#"<?xml version="1.0"?>
            <Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
            <References>{files}</References><DiskSection>{disks}</DiskSection>
            <VirtualSystem ovf:id="vm"><VirtualHardwareSection>{hardware}</VirtualHardwareSection></VirtualSystem>
            </Envelope>"#
        )
    }

    fn of_file(href: &str) -> Result<Vec<DiskContent>, OvfError> {
        let file = format!(r#"<File ovf:id="f" ovf:href="{href}"/>"#);
        disks(&envelope(
            &file,
            r#"<Disk ovf:diskId="d" ovf:fileRef="f"/>"#,
            "",
        ))
    }

    #[test]
    fn disks_have_the_order_of_the_machine_and_may_be_empty() {
        let files = r#"<File ovf:id="f1" ovf:href="a.vmdk"/><File ovf:id="f2" ovf:href="b.vmdk"/>"#;
        let listed = r#"<Disk ovf:diskId="none" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^30"/>
            <Disk ovf:diskId="one" ovf:fileRef="f1"/><Disk ovf:diskId="two" ovf:fileRef="f2"/>"#;
        let hardware = "<Item><HostResource>ovf:/disk/two</HostResource></Item>
            <Item><HostResource>/disk/one</HostResource></Item>";
        let found = disks(&envelope(files, listed, hardware)).unwrap();
        let file = |name: &str| DiskContent::File(name.to_owned());
        assert_eq!(
            found,
            [file("b.vmdk"), file("a.vmdk"), DiskContent::Empty(3 << 30)]
        );
    }

    #[test]
    fn a_name_leads_to_a_file_of_the_archive_or_is_refused() {
        assert_eq!(
            of_file("disks/a b.vmdk"),
            Ok(vec![DiskContent::File("disks/a b.vmdk".to_owned())])
        );
        for name in [
            "../a.vmdk",
            "/etc/shadow",
            "a/../../b",
            "",
            "a//b",
            "http://example.org/a.vmdk",
            "file:a",
            "nbd:x",
        ] {
            assert_eq!(
                of_file(name),
                Err(OvfError::Outside(name.to_owned())),
                "{name}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}", href in ".{0,40}", unit in ".{0,20}") {
            let _ = disks(&text);
            let _ = of_file(&href);
            let disk = format!(r#"<Disk capacity="9" capacityAllocationUnits="byte*{unit}"/>"#);
            let _ = disks(&envelope("", &disk, ""));
        }
    }

    #[test]
    fn what_is_no_single_machine_with_disks_is_refused() {
        let entities =
            r#"<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><Envelope>&d;</Envelope>"#;
        assert!(matches!(disks(entities), Err(OvfError::Xml(_))));
        let deep = "<a>".repeat(50_000) + &"</a>".repeat(50_000);
        assert!(disks(&deep).is_err());
        assert_eq!(disks(&envelope("", "", "")), Err(OvfError::None));
        let many = r#"<Disk ovf:capacity="1"/>"#.repeat(65);
        assert_eq!(disks(&envelope("", &many, "")), Err(OvfError::TooMany));
        assert_eq!(
            disks("<Envelope><VirtualSystem/><VirtualSystem/></Envelope>"),
            Err(OvfError::Machines(2))
        );
        for disk in [
            r#"<Disk diskId="d"/>"#,
            r#"<Disk diskId="d" capacity="1" capacityAllocationUnits="byte * 2^70"/>"#,
            r#"<Disk diskId="d" fileRef="f"/>"#,
            r#"<Disk diskId="d" capacity="1" parentRef="e"/>"#,
        ] {
            let found = disks(&envelope("", disk, ""));
            assert!(
                matches!(found, Err(OvfError::Disk { .. })),
                "{disk}: {found:?}"
            );
        }
    }
}
