//! What QEMU may open and do for each kind of machine, beyond what every QEMU may.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bivouac::linux::program::Program;
use bivouac::machine::plan::{
    Accelerator, ChildFd, DirectKernel, Display, Firmware, MemoryMapping, Network, Plan, Publish,
    SnapshotConfig,
};
use bivouac::machine::rules::of_plan;
use bivouac::sandbox::{Rules, Settings};

use super::plan;

fn program() -> Program {
    Program {
        path: "/usr/bin/qemu-system-x86_64".into(),
        interpreters: vec!["/lib64/ld-linux-x86-64.so.2".into()],
        is_script: false,
    }
}

/// The rules of an emulated machine.
fn rules(change: impl FnOnce(&mut Plan)) -> Rules {
    let mut plan = Plan {
        accelerator: Accelerator::Tcg,
        ..plan()
    };
    change(&mut plan);
    of_plan(&plan, &program())
}

/// One line for each rule that the machine of [`plan`] does not have.
fn beyond_the_default(change: impl FnOnce(&mut Plan)) -> String {
    let (default, changed) = (rules(|_| {}), rules(change));
    let mut lines = Vec::new();
    let mut tell = |what: &str, default: &[PathBuf], changed: &[PathBuf]| {
        let new = changed.iter().filter(|path| !default.contains(path));
        lines.extend(new.map(|path| format!("{what} {}", path.display())));
    };
    tell("read", &default.read, &changed.read);
    tell("execute", &default.execute, &changed.execute);
    tell("write", &default.write, &changed.write);
    tell("devices", &default.devices, &changed.devices);
    lines.push(format!("network {:?}", changed.network));
    lines.extend(changed.fork.then(|| "fork".to_owned()));
    lines.extend(changed.weaker.map(|why| format!("weaker: {why}")));
    lines.join("\n")
}

#[test]
fn every_qemu_may_open_its_own_files_and_nothing_else() {
    insta::assert_json_snapshot!("rules_of_every_qemu", rules(|_| {}));
}

#[test]
fn rules_are_wider_by_what_a_machine_needs() {
    let publish = Publish {
        address: Ipv4Addr::LOCALHOST,
        host: 8080,
        guest: 80,
    };
    let network = |restricted| Network::User {
        publish: vec![publish.clone()],
        restricted,
    };
    let snapshot = |mapping| SnapshotConfig {
        memory: ChildFd(23),
        mapping,
        empty_disks: 0,
        generation_id: true,
        devices_only: false,
    };
    type Change<'a> = Box<dyn FnOnce(&mut Plan) + 'a>;
    let internet = || Network::Internet {
        passt: "/usr/bin/passt".into(),
        socket: ChildFd(9),
    };
    let kinds: [(&str, Change<'_>); 16] = [
        ("net internet", Box::new(|plan| plan.network = internet())),
        (
            "kvm",
            Box::new(|plan| plan.accelerator = Accelerator::KvmThenTcg),
        ),
        (
            "kvm by --qemu-arg",
            Box::new(|plan| {
                plan.extra = ["-accel", "kvm,dirty-ring-size=0"].map(Into::into).into()
            }),
        ),
        (
            "firmware",
            Box::new(|plan| plan.firmware = Firmware::File("/images/firmware".into())),
        ),
        (
            "kernel",
            Box::new(|plan| {
                plan.kernel = Some(DirectKernel {
                    kernel: "/images/kernel".into(),
                    initrd: Some("/images/initrd".into()),
                    command_line: String::new(),
                });
            }),
        ),
        ("net user", Box::new(|plan| plan.network = network(false))),
        ("publish", Box::new(|plan| plan.network = network(true))),
        (
            "vnc",
            Box::new(|plan| plan.display = Display::Vnc("127.0.0.1:1".into())),
        ),
        (
            "vnc publish",
            Box::new(|plan| {
                plan.display = Display::Vnc("127.0.0.1:1".into());
                plan.network = network(true);
            }),
        ),
        (
            "vnc socket",
            Box::new(|plan| plan.display = Display::VncSocket("/run/vnc".into())),
        ),
        ("gtk", Box::new(|plan| plan.display = Display::Gtk)),
        (
            "saved",
            Box::new(|plan| plan.snapshot = Some(snapshot(MemoryMapping::Shared))),
        ),
        (
            "restored",
            Box::new(|plan| plan.snapshot = Some(snapshot(MemoryMapping::CopyOnWrite))),
        ),
        (
            "restored read-only",
            Box::new(|plan| {
                plan.snapshot = Some(snapshot(MemoryMapping::CopyOnWriteReadOnly));
            }),
        ),
        (
            "restored, the memory opened for it",
            Box::new(|plan| {
                plan.snapshot = Some(snapshot(MemoryMapping::CopyOnWriteAnswered));
            }),
        ),
        (
            "sandbox-read",
            Box::new(|plan| {
                plan.sandbox = Settings {
                    read: vec!["/opt/qemu".into()],
                    ..Settings::default()
                };
            }),
        ),
    ];
    let told = kinds.map(|(name, change)| format!("[{name}]\n{}\n", beyond_the_default(change)));
    insta::assert_snapshot!("rules_by_kind", told.join("\n"));
}
