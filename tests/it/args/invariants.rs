//! What holds for every plan, whatever its paths and serials are: property tests named after
//! the invariants of the design.

use std::collections::BTreeSet;

use bivouac::image::Format;
use bivouac::machine::plan::{Bus, Disk, Firmware, Plan};
use proptest::prelude::*;
use serde_json::Value;

use super::{chain_of_three, disk, layer, plan, uefi, values, words};

/// Text as hostile as a path can be: commas, quotes, line ends, other scripts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ ,='\"\\\\{}:/a-z\n-]{0,24}",
        "\\PC{0,24}",
        Just("/dev/fdset/3,opaque=x\",\"driver\":\"raw".to_owned()),
    ]
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

fn a_disk(first_fd: i32) -> impl Strategy<Value = Disk> {
    let layers = prop::collection::vec((format(), text(), any::<bool>()), 1..6);
    (layers, prop::option::of("[!-+.-~]{1,20}")).prop_map(move |(layers, serial)| {
        let layers = (first_fd + 1..)
            .zip(layers)
            .map(|(fd, (format, label, block_device))| {
                let mut layer = layer(fd, format, &label);
                layer.block_device = block_device;
                layer
            })
            .collect();
        let mut disk = disk(first_fd, layers);
        disk.serial = serial;
        disk
    })
}

fn a_plan() -> impl Strategy<Value = Plan> {
    let bus = prop::sample::select(vec![Bus::Virtio, Bus::Scsi, Bus::Sata, Bus::Ide, Bus::Nvme]);
    let cdroms = prop::collection::vec(text(), 0..2);
    let parts = (a_disk(100), a_disk(200), cdroms, bus, any::<bool>());
    parts.prop_map(|(first, second, cdroms, bus, with_uefi)| Plan {
        disks: vec![first, second],
        cdroms: (300..)
            .zip(cdroms)
            .map(|(fd, label)| layer(fd, Format::Raw, &label))
            .collect(),
        bus,
        firmware: if with_uefi { uefi() } else { Firmware::Bios },
        ..plan()
    })
}

fn nodes(words: &[String]) -> Vec<Value> {
    let nodes = values(words, "-blockdev").into_iter();
    nodes
        .map(|json| serde_json::from_str(json).expect("a -blockdev is JSON"))
        .collect()
}

/// QEMU's own way with options: parts between single commas, a doubled comma is one.
fn parts(option: &str) -> Vec<String> {
    let text = option.replace(",,", "\0");
    text.split(',')
        .map(|part| part.replace('\0', ","))
        .collect()
}

proptest! {
    #[test]
    fn formats_are_told_every_node_names_its_driver_and_its_backing(plan in a_plan()) {
        let words = words(&plan);
        let mut known = BTreeSet::new();
        for node in nodes(&words) {
            prop_assert!(node["driver"].is_string());
            prop_assert!(node["file"]["driver"].is_string());
            // Formats that can have a backing file are always told theirs: null is the end.
            if matches!(node["driver"].as_str(), Some("qcow2" | "qed" | "vmdk")) {
                match &node["backing"] {
                    Value::Null => prop_assert!(node.get("backing").is_some(), "{node}"),
                    name => prop_assert!(known.contains(name.as_str().unwrap()), "{node}"),
                }
            } else {
                prop_assert!(node.get("backing").is_none(), "{node}");
            }
            prop_assert!(known.insert(node["node-name"].as_str().unwrap().to_owned()));
        }
    }

    #[test]
    fn formats_are_told_so_the_options_that_guess_are_not_used(plan in a_plan()) {
        for word in words(&plan) {
            let guesses = ["-drive", "-hda", "-hdb", "-cdrom", "-snapshot", "-pflash", "-fda"];
            prop_assert!(!guesses.contains(&word.as_str()));
            // A label may say so; it is only for people.
            let interface = word.split(',').any(|option| option.starts_with("if="));
            prop_assert!(word.contains("opaque=") || !interface);
        }
    }

    #[test]
    fn read_only_by_descriptor_every_node_but_the_overlays(plan in a_plan()) {
        let words = words(&plan);
        let mut overlays = vec!["disk0", "disk1"];
        if matches!(plan.firmware, Firmware::Uefi { .. }) {
            overlays.push("firmware-vars");
        }
        for node in nodes(&words) {
            let name = node["node-name"].as_str().unwrap();
            let writable = overlays.contains(&name);
            prop_assert_eq!(&node["read-only"], &Value::Bool(!writable));
            prop_assert_eq!(&node["file"]["locking"], "off");
            if !writable {
                prop_assert_eq!(&node["file"]["read-only"], &Value::Bool(true));
            }
        }
    }

    #[test]
    fn nothing_has_a_name_every_file_is_a_descriptor_set_that_was_added_once(plan in a_plan()) {
        let words = words(&plan);
        let added: Vec<_> = values(&words, "-add-fd")
            .into_iter()
            .map(|option| parts(option)[1].replace("set=", "/dev/fdset/"))
            .collect();
        let opened: Vec<_> = nodes(&words)
            .iter()
            .map(|node| node["file"]["filename"].as_str().unwrap().to_owned())
            .collect();
        let distinct: BTreeSet<_> = added.iter().collect();
        prop_assert_eq!(distinct.len(), added.len());
        prop_assert_eq!(distinct, opened.iter().collect::<BTreeSet<_>>());
        prop_assert_eq!(opened.len(), added.len());
    }

    #[test]
    fn a_label_is_one_part_of_its_option_whatever_is_in_it(plan in a_plan()) {
        let words = words(&plan);
        let mut labels: Vec<_> = plan.disks.iter().flat_map(|disk| &disk.layers).collect();
        labels.extend(&plan.cdroms);
        for layer in labels {
            let wanted = [
                format!("fd={}", layer.fd.0),
                format!("set={}", layer.fd.0),
                format!("opaque={}", layer.label),
            ];
            let found = values(&words, "-add-fd")
                .into_iter()
                .find(|option| option.starts_with(&format!("fd={},", layer.fd.0)))
                .map(parts);
            prop_assert_eq!(found.as_deref(), Some(&wanted[..]));
        }
    }

    #[test]
    fn a_serial_reaches_its_own_device_only(plan in a_plan()) {
        let words = words(&plan);
        for (index, disk) in plan.disks.iter().enumerate() {
            let id = format!("id=disk{index}-device");
            let device = values(&words, "-device")
                .into_iter()
                .map(parts)
                .find(|parts| parts.contains(&id))
                .unwrap();
            let serials: Vec<_> = device.iter().filter_map(|p| p.strip_prefix("serial=")).collect();
            let named = disk.serial.as_deref();
            match (named, plan.bus) {
                (Some(serial), _) => prop_assert_eq!(serials, [serial]),
                (None, Bus::Nvme) => prop_assert_eq!(serials.len(), 1),
                (None, _) => prop_assert_eq!(serials.len(), 0),
            }
        }
    }

    #[test]
    fn the_same_plan_gives_the_same_arguments(plan in a_plan()) {
        prop_assert_eq!(words(&plan), words(&plan.clone()));
    }
}

#[test]
fn the_layers_of_a_chain_stand_over_one_another_in_their_order() {
    let words = words(&Plan {
        disks: vec![chain_of_three()],
        ..plan()
    });
    let nodes = nodes(&words);
    let told: Vec<_> = nodes
        .iter()
        .map(|node| (node["node-name"].as_str().unwrap(), &node["backing"]))
        .collect();
    let null = &Value::Null;
    let name = |name: &str| Value::String(name.into());
    assert_eq!(
        told,
        [
            ("disk0-layer2", null),
            ("disk0-layer1", &name("disk0-layer2")),
            ("disk0-layer0", &name("disk0-layer1")),
            ("disk0", &name("disk0-layer0")),
        ]
    );
    assert_eq!(nodes[0]["file"]["driver"], "host_device");
    assert_eq!(nodes[1]["file"]["driver"], "file");
}

#[test]
fn a_machine_has_no_network_and_a_sandbox_unless_it_is_asked_for() {
    let words = words(&plan());
    assert!(words.contains(&"-nodefaults".into()));
    assert!(words.contains(&"-no-user-config".into()));
    assert_eq!(values(&words, "-netdev"), [""; 0]);
    let sandbox = values(&words, "-sandbox");
    assert_eq!(sandbox.len(), 1);
    for part in ["on", "spawn=deny", "elevateprivileges=deny"] {
        assert!(parts(sandbox[0]).contains(&part.to_owned()));
    }
}
