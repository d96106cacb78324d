//! From a plan to QEMU's arguments, without QEMU: nothing is opened, and the descriptors'
//! numbers are made up.

mod invariants;
mod rules;
mod snapshots;

use bivouac::image::Format;
use bivouac::machine::args::argv;
use bivouac::machine::plan::{
    Accelerator, Bus, ChildFd, Disk, Display, Firmware, Layer, Network, Plan,
};

/// A machine with one disk of one qcow2 layer.
pub fn plan() -> Plan {
    Plan {
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        machine: "q35".into(),
        accelerator: Accelerator::KvmThenTcg,
        tcg_buffer_mib: None,
        cpu: "max".into(),
        cpus: 2,
        memory_mib: 2048,
        firmware: Firmware::Bios,
        bus: Bus::Virtio,
        disks: vec![disk(
            12,
            vec![layer(10, Format::Qcow2, "/images/top.qcow2")],
        )],
        cdroms: vec![],
        kernel: None,
        network: Network::None,
        display: Display::None,
        reboot: false,
        qmp: ChildFd(20),
        console: ChildFd(21),
        agent: None,
        snapshot: None,
        extra: vec![],
        sandbox: bivouac::sandbox::Settings::default(),
    }
}

pub fn disk(overlay: i32, layers: Vec<Layer>) -> Disk {
    Disk {
        overlay: ChildFd(overlay),
        layers,
        serial: None,
        sector_size: None,
    }
}

pub fn layer(fd: i32, format: Format, label: &str) -> Layer {
    Layer {
        fd: ChildFd(fd),
        format,
        block_device: false,
        remote: false,
        label: label.into(),
    }
}

/// Three layers: a qcow2 over a qcow2 over a block device.
pub fn chain_of_three() -> Disk {
    let mut base = layer(12, Format::Raw, "/dev/vg0/base");
    base.block_device = true;
    disk(
        13,
        vec![
            layer(10, Format::Qcow2, "/images/top.qcow2"),
            layer(11, Format::Qcow2, "/images/middle.qcow2"),
            base,
        ],
    )
}

/// UEFI in two flash chips, as Debian's ovmf has it.
pub fn uefi() -> Firmware {
    Firmware::Uefi {
        code: layer(30, Format::Raw, "/usr/share/OVMF/OVMF_CODE_4M.fd"),
        vars: disk(
            32,
            vec![layer(31, Format::Raw, "/usr/share/OVMF/OVMF_VARS_4M.fd")],
        ),
    }
}

/// The arguments as text; the plans here have no others.
pub fn words(plan: &Plan) -> Vec<String> {
    argv(plan)
        .into_iter()
        .map(|word| word.into_string().expect("UTF-8"))
        .collect()
}

/// The values of every option `name`.
pub fn values<'a>(words: &'a [String], name: &str) -> Vec<&'a str> {
    words
        .windows(2)
        .filter(|two| two[0] == name)
        .map(|two| two[1].as_str())
        .collect()
}
