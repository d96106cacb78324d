//! From a [`Plan`] to QEMU's arguments. Pure functions, one per kind of device, so that a snapshot of
//! the result is a complete test.

use std::ffi::OsString;

use serde_json::Value;

use crate::host::qemu::SANDBOX;
use crate::linux::proc_fd;

use super::blockdev::{disk_nodes, empty_node, layer_node};
use super::plan::{
    Accelerator, Bus, ChildFd, Disk, Display, Firmware, Layer, MemoryMapping, Network, Plan,
    Publish,
};

/// QEMU's arguments for `plan`, without the program's name.
pub fn argv(plan: &Plan) -> Vec<OsString> {
    let mut args = Args {
        // The first free one on both machine types: 0 is the host bridge, 1 the ISA bridge (pc) or
        // free (q35).
        next_slot: plan.snapshot.map(|_| 2),
        ..Args::default()
    };
    machine_args(&mut args, plan);
    channel_args(&mut args, plan);
    firmware_args(&mut args, &plan.firmware);
    kernel_args(&mut args, plan);
    controller_args(&mut args, plan);
    for (index, disk) in plan.disks.iter().enumerate() {
        args.disk(&format!("disk{index}"), disk);
        disk_args(&mut args, plan, index, Some(disk));
    }
    let empty_disks = plan.snapshot.map_or(0, |snapshot| snapshot.empty_disks);
    for index in plan.disks.len()..empty_disks {
        args.blockdev(&empty_node(&format!("disk{index}")));
        disk_args(&mut args, plan, index, None);
    }
    for (index, cdrom) in plan.cdroms.iter().enumerate() {
        cdrom_args(&mut args, plan, index, cdrom);
    }
    network_args(&mut args, plan);
    display_args(&mut args, &plan.display);
    args.words.extend(plan.extra.iter().cloned());
    args.words
}

#[derive(Default)]
struct Args {
    words: Vec<OsString>,
    /// The PCI slot of the next device, if slots are explicit.
    next_slot: Option<u8>,
}

impl Args {
    fn flag(&mut self, name: &str) {
        self.words.push(name.into());
    }

    fn opt(&mut self, name: &str, value: impl Into<OsString>) {
        self.words.push(name.into());
        self.words.push(value.into());
    }

    /// A device on the PCI bus, named `id` if slots are explicit: a restored machine must have it under
    /// the same name in the same slot.
    fn pci_device(&mut self, id: &str, mut device: String) {
        if let Some(slot) = &mut self.next_slot {
            if !device.contains(",id=") {
                device.push_str(&format!(",id={id}"));
            }
            device.push_str(&format!(",addr=0x{slot:x}"));
            *slot += 1;
        }
        self.opt("-device", device);
    }

    fn blockdev(&mut self, node: &Value) {
        self.opt("-blockdev", node.to_string());
    }

    /// A set with one descriptor. `label` is only for people who read the command line.
    fn layer_set(&mut self, layer: &Layer) {
        // A connection is named by its number.
        if !layer.remote {
            self.fd_set(layer.fd, &layer.label);
        }
    }

    fn fd_set(&mut self, fd: ChildFd, label: &str) {
        let label = label.replace(',', ",,");
        self.opt("-add-fd", format!("fd={0},set={0},opaque={label}", fd.0));
    }

    fn disk(&mut self, name: &str, disk: &Disk) {
        for layer in &disk.layers {
            self.layer_set(layer);
        }
        self.fd_set(disk.overlay, &format!("{name}-overlay"));
        for node in disk_nodes(name, disk) {
            self.blockdev(&node);
        }
    }
}

fn machine_args(args: &mut Args, plan: &Plan) {
    args.opt("-name", "bivouac");
    args.flag("-no-user-config");
    args.flag("-nodefaults");
    args.opt("-sandbox", SANDBOX);
    let mut machine = plan.machine.clone();
    accelerator_args(args, plan, &mut machine);
    if matches!(plan.firmware, Firmware::Uefi { .. }) {
        machine.push_str(",pflash0=firmware-code,pflash1=firmware-vars");
    }
    if plan.display == Display::None {
        // SeaBIOS and boot loaders then use the serial port for their screen.
        machine.push_str(",graphics=off");
    }
    if plan.snapshot.is_some() {
        machine.push_str(",memory-backend=memory");
    }
    args.opt("-machine", machine);
    memory_args(args, plan);
    args.opt("-cpu", &plan.cpu);
    args.opt("-smp", plan.cpus.to_string());
    args.opt("-m", format!("{}M", plan.memory_mib));
    // The CPUs wait until the console is read and QMP has told which accelerator is used.
    args.flag("-S");
    let reboot = if plan.reboot { "reset" } else { "shutdown" };
    // A panic is reported and keeps running for a moment, so that its trace is complete.
    args.opt("-action", format!("reboot={reboot},panic=none"));
    args.opt("-boot", "strict=on");
    args.opt("-device", "pvpanic");
    if plan.snapshot.is_some_and(|snapshot| snapshot.generation_id) {
        // QEMU generates a new one in each process, also in one that restores a machine.
        args.opt("-device", "vmgenid,guid=auto,id=generation");
    }
    args.opt("-object", "rng-builtin,id=rng0");
    args.pci_device("rng", "virtio-rng-pci,rng=rng0".to_owned());
}

/// QEMU does not accept `accel=` of the machine beside `-accel`, which has more options.
fn accelerator_args(args: &mut Args, plan: &Plan, machine: &mut String) {
    if plan.extra.iter().any(|word| word == "-accel") {
        return;
    }
    let may_be_tcg = plan.accelerator != Accelerator::Kvm;
    let Some(mib) = plan.tcg_buffer_mib.filter(|_| may_be_tcg) else {
        machine.push_str(&format!(",accel={}", plan.accelerator.as_str()));
        return;
    };
    for accelerator in plan.accelerator.as_str().split(':') {
        match accelerator {
            "tcg" => args.opt("-accel", format!("tcg,tb-size={mib}")),
            other => args.opt("-accel", other),
        }
    }
}

/// The memory as a file, by its descriptor's path: since QEMU 8.1 the memory is left out of a saved
/// state only if it is a file with a path, which `memory-backend-memfd` is not.
fn memory_args(args: &mut Args, plan: &Plan) {
    let Some(snapshot) = plan.snapshot else {
        return;
    };
    let mapping = match snapshot.mapping {
        MemoryMapping::Shared | MemoryMapping::SharedRestored => "share=on",
        MemoryMapping::CopyOnWrite | MemoryMapping::CopyOnWriteAnswered | MemoryMapping::Boot => {
            "share=off"
        }
        MemoryMapping::CopyOnWriteReadOnly => "share=off,readonly=on,rom=off",
    };
    args.opt(
        "-object",
        format!(
            "memory-backend-file,id=memory,size={}M,mem-path={},{mapping}",
            plan.memory_mib,
            proc_fd::of_number(snapshot.memory.0)
        ),
    );
    if !matches!(
        snapshot.mapping,
        MemoryMapping::Shared | MemoryMapping::Boot
    ) {
        args.opt("-incoming", "defer");
    }
    if snapshot.devices_only {
        args.opt("-global", "migration.send-configuration=off");
    }
}

fn channel_args(args: &mut Args, plan: &Plan) {
    args.opt("-chardev", format!("socket,id=qmp,fd={}", plan.qmp.0));
    args.opt("-mon", "chardev=qmp,mode=control");
    args.opt(
        "-chardev",
        format!("socket,id=console,fd={}", plan.console.0),
    );
    args.opt("-serial", "chardev:console");
    if let Some(agent) = plan.agent {
        args.pci_device("serial", virtio("virtio-serial-pci,id=serial", plan));
        args.opt("-chardev", format!("socket,id=agent,fd={}", agent.fd.0));
        args.opt(
            "-device",
            format!(
                "virtserialport,bus=serial.0,chardev=agent,name={}",
                agent.name
            ),
        );
    }
}

fn firmware_args(args: &mut Args, firmware: &Firmware) {
    match firmware {
        Firmware::Bios => {}
        Firmware::File(path) => args.opt("-bios", path),
        Firmware::Uefi { code, vars } => {
            args.layer_set(code);
            args.blockdev(&layer_node("firmware-code", code, Value::Null));
            args.disk("firmware-vars", vars);
        }
    }
}

fn kernel_args(args: &mut Args, plan: &Plan) {
    if let Some(direct) = &plan.kernel {
        args.opt("-kernel", &direct.kernel);
        if let Some(initrd) = &direct.initrd {
            args.opt("-initrd", initrd);
        }
        if !direct.command_line.is_empty() {
            args.opt("-append", &direct.command_line);
        }
    }
}

/// A device of which an emulated processor itself begins each request. By default it wakes another thread for
/// that (ioeventfd), which takes a fifth of the time of a small one.
fn virtio(device: &str, plan: &Plan) -> String {
    match plan.accelerator.may_be_kvm() {
        true => device.to_owned(),
        false => format!("{device},ioeventfd=off"),
    }
}

fn controller_args(args: &mut Args, plan: &Plan) {
    match plan.bus {
        Bus::Ide => {}
        Bus::Virtio | Bus::Nvme if plan.cdroms.is_empty() => {}
        Bus::Scsi => args.pci_device("scsi", "virtio-scsi-pci,id=scsi".to_owned()),
        Bus::Sata | Bus::Virtio | Bus::Nvme => args.pci_device("sata", "ahci,id=sata".to_owned()),
    }
}

/// QEMU uses 0 for `-kernel`.
fn boot_index(slot: usize) -> usize {
    slot + 1
}

fn disk_args(args: &mut Args, plan: &Plan, index: usize, disk: Option<&Disk>) {
    let name = format!("disk{index}");
    let bus = plan.bus;
    let device = match bus {
        Bus::Virtio => virtio("virtio-blk-pci", plan),
        Bus::Scsi => "scsi-hd,bus=scsi.0".to_owned(),
        Bus::Sata => format!("ide-hd,bus=sata.{index}"),
        Bus::Ide => format!("ide-hd,bus=ide.{},unit={}", index / 2, index % 2),
        Bus::Nvme => "nvme".to_owned(),
    };
    let mut device = format!(
        "{device},id={name}-device,drive={name},bootindex={}",
        boot_index(index)
    );
    match (disk.and_then(|disk| disk.serial.as_deref()), bus) {
        (Some(serial), _) => device.push_str(&format!(",serial={serial}")),
        // nvme requires one.
        (None, Bus::Nvme) => device.push_str(&format!(",serial=bivouac{index}")),
        (None, _) => {}
    }
    if let Some(size) = disk.and_then(|disk| disk.sector_size) {
        device.push_str(&format!(
            ",logical_block_size={size},physical_block_size={size}"
        ));
    }
    // The machine stops at the first write that fails on the host, and QEMU reports the reason.
    if bus != Bus::Nvme {
        // So it does if an image on another host cannot be read.
        let is_remote = disk.is_some_and(|disk| disk.layers.iter().any(|layer| layer.remote));
        let on_read = if is_remote { "stop" } else { "report" };
        device.push_str(&format!(",werror=stop,rerror={on_read}"));
    }
    match bus {
        Bus::Virtio | Bus::Nvme => args.pci_device(&name, device),
        Bus::Scsi | Bus::Sata | Bus::Ide => args.opt("-device", device),
    }
}

fn cdrom_args(args: &mut Args, plan: &Plan, index: usize, cdrom: &Layer) {
    let name = format!("cdrom{index}");
    args.layer_set(cdrom);
    args.blockdev(&layer_node(&name, cdrom, Value::Null));
    let slot = plan.disks.len() + index;
    let device = match plan.bus {
        Bus::Scsi => "scsi-cd,bus=scsi.0".to_owned(),
        Bus::Sata => format!("ide-cd,bus=sata.{slot}"),
        Bus::Ide => format!("ide-cd,bus=ide.{},unit={}", slot / 2, slot % 2),
        Bus::Virtio | Bus::Nvme => format!("ide-cd,bus=sata.{index}"),
    };
    args.opt(
        "-device",
        format!(
            "{device},id={name}-device,drive={name},bootindex={}",
            boot_index(slot)
        ),
    );
}

/// The user-mode network of a machine that is saved. It has leased the guest's address to a MAC address
/// that no clone has, and would lease clones another address, to which no published port leads. So it
/// is removed from its hub before the machine is saved, and clones have a new one.
pub const NETWORK_BEHIND_A_HUB: &str = "user0";

fn network_args(args: &mut Args, plan: &Plan) {
    if plan.network == Network::None {
        return;
    }
    let id = match plan.snapshot {
        Some(_) => NETWORK_BEHIND_A_HUB,
        None => "net0",
    };
    args.opt("-netdev", netdev(&plan.network, id));
    if plan.snapshot.is_some() {
        args.opt("-netdev", format!("hubport,id=port0,hubid=0,netdev={id}"));
        args.opt("-netdev", "hubport,id=net0,hubid=0");
    }
    // No option ROM: machines do not boot from the network, and loading it takes time.
    args.pci_device(
        "net0-device",
        "virtio-net-pci,netdev=net0,romfile=".to_owned(),
    );
}

/// The value of `-netdev`.
fn netdev(network: &Network, id: &str) -> String {
    match network {
        Network::None => String::new(),
        // Known to every version, and what passt speaks.
        Network::Internet { socket, .. } => format!("socket,id={id},fd={}", socket.0),
        Network::User {
            publish,
            restricted,
        } => {
            let mut netdev = format!("user,id={id}");
            if *restricted {
                netdev.push_str(",restrict=on");
            }
            for forward in publish {
                netdev.push_str(",hostfwd=");
                netdev.push_str(&host_forward(forward));
            }
            netdev
        }
    }
}

/// A published port in the syntax of QEMU's `hostfwd`.
pub(super) fn host_forward(one: &Publish) -> String {
    format!("tcp:{}:{}-:{}", one.address, one.host, one.guest)
}

fn display_args(args: &mut Args, display: &Display) {
    let value = match display {
        Display::None => "none".to_owned(),
        Display::Gtk => "gtk".to_owned(),
        Display::Vnc(address) => format!("vnc={address},password=on"),
        Display::VncSocket(_) => "vnc=none".to_owned(),
    };
    args.opt("-display", value);
    if *display != Display::None {
        args.pci_device("vga", "VGA".to_owned());
        args.pci_device("usb", "qemu-xhci,id=usb".to_owned());
        args.opt("-device", "usb-tablet,bus=usb.0");
        args.opt("-device", "usb-kbd,bus=usb.0");
    }
}
