//! What the template of an image is found by, without a machine.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bivouac::image::chain::{Chain, Request, resolve};
use bivouac::machine::plan::{
    Accelerator, Bus, ChildFd, DirectKernel, Firmware, Network, Plan, Publish,
};
use bivouac::template::key::Key;

use crate::args::{disk, layer, plan};
use crate::env::cases::Cases;
use crate::image::Images;

/// Other content of the same length, and its time put back: as a package manager might.
fn change(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let last = content.last_mut().unwrap();
    *last ^= 1;
    let file = File::options().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    fs::write(path, content).unwrap();
    file.set_modified(modified).unwrap();
}

/// A chain of three over `base`, which is raw; the name of its top.
fn chain_of_three(images: &Images) -> PathBuf {
    images.recording("bottom.qcow2", "base", Some("raw"));
    images.over("bottom.qcow2", "middle.qcow2");
    images.over("middle.qcow2", "top.qcow2");
    images.path("top.qcow2")
}

#[test]
fn each_thing_that_a_booted_machine_is_made_of_is_in_its_key() {
    let images = Images::new();
    let file = |name: &str| {
        fs::write(images.path(name), vec![1; 1 << 16]).unwrap();
        images.path(name)
    };
    file("base");
    let top = chain_of_three(&images);
    let chains = || -> [Chain; 1] { [resolve(&Request::of(top.clone())).unwrap()] };
    let direct = |command_line: &str| {
        Some(DirectKernel {
            kernel: images.path("kernel"),
            initrd: Some(images.path("initrd")),
            command_line: command_line.into(),
        })
    };
    let network = |host| Network::User {
        publish: vec![Publish {
            address: Ipv4Addr::LOCALHOST,
            host,
            guest: 80,
        }],
        restricted: false,
    };
    file("kernel");
    file("initrd");
    let own = Plan {
        qemu: file("qemu"),
        firmware: Firmware::File(file("firmware")),
        kernel: direct("quiet"),
        network: network(8080),
        ..plan()
    };
    let name = |plan: &Plan| {
        let key = Key::of_image(plan, &chains(), "multi-user").unwrap();
        key.name()
    };
    let first = name(&own);
    // The numbers of descriptors, the host's ends of the network, and one more layer on top of
    // the same disk's overlay are not.
    let alike = Plan {
        qmp: ChildFd(77),
        console: ChildFd(78),
        network: network(9090),
        disks: vec![disk(
            99,
            vec![layer(
                98,
                own.disks[0].layers[0].format,
                "/images/top.qcow2",
            )],
        )],
        ..own.clone()
    };
    assert_eq!(name(&alike), first);
    let mut seen = vec![first];
    let mut cases = Cases::default();
    let mut is_new = |what: &str, name: String| {
        cases.case(what, || assert!(!seen.contains(&name)));
        seen.push(name);
    };
    let other_stage = Key::of_image(&own, &chains(), "basic").unwrap();
    is_new("stage", other_stage.name());
    let own = &own;
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Plan));
    let changes: [Change<'_>; 9] = [
        ("memory", &|plan| plan.memory_mib = 512),
        ("cpus", &|plan| plan.cpus = 1),
        ("cpu", &|plan| plan.cpu = "qemu64".into()),
        ("machine", &|plan| plan.machine = "pc".into()),
        ("accelerator", &|plan| plan.accelerator = Accelerator::Tcg),
        ("network", &|plan| plan.network = Network::None),
        ("bus", &|plan| plan.bus = Bus::Scsi),
        ("command line", &|plan| plan.kernel = direct("verbose")),
        ("serial", &|plan| plan.disks[0].serial = Some("DATA".into())),
    ];
    for (what, change) in changes {
        let mut changed = own.clone();
        change(&mut changed);
        is_new(what, name(&changed));
    }
    for path in [
        "qemu",
        "firmware",
        "kernel",
        "initrd",
        "bottom.qcow2",
        "middle.qcow2",
        "top.qcow2",
    ] {
        change(&images.path(path));
        is_new(path, name(own));
    }
}
