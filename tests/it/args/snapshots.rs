//! The whole command line for each kind of machine. A change here is a change of every
//! such machine: look at it as such.

use std::net::Ipv4Addr;

use bivouac::image::Format;
use bivouac::machine::plan::{
    AGENT_PORT, Accelerator, AgentPort, Bus, ChildFd, DirectKernel, Display, MemoryMapping,
    Network, Plan, Publish, SnapshotConfig,
};

use super::{chain_of_three, disk, layer, plan, uefi, words};

/// An option and its value on a line, as a person would break it.
fn lines(plan: &Plan) -> String {
    let mut text = String::new();
    for word in words(plan) {
        let option = word.starts_with('-');
        text.push_str(match (text.is_empty(), option) {
            (true, _) => "",
            (false, true) => "\n",
            (false, false) => " ",
        });
        text.push_str(&word);
    }
    text
}

/// Only the lines that differ from the machine of [`plan`], in their order.
fn beyond_the_default(plan: &Plan) -> String {
    let default = lines(&super::plan());
    let default: Vec<_> = default.lines().collect();
    let all = lines(plan);
    let new: Vec<_> = all.lines().filter(|line| !default.contains(line)).collect();
    new.join("\n")
}

#[test]
fn a_qcow2_image_of_one_layer() {
    insta::assert_snapshot!(lines(&plan()));
}

#[test]
fn a_chain_of_three_layers_on_a_block_device() {
    let machine = Plan {
        disks: vec![chain_of_three()],
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn a_raw_image() {
    let machine = Plan {
        disks: vec![disk(12, vec![layer(10, Format::Raw, "/images/disk.raw")])],
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn each_bus_with_two_disks_and_a_cdrom() {
    for bus in [Bus::Virtio, Bus::Scsi, Bus::Sata, Bus::Ide, Bus::Nvme] {
        let mut second = disk(15, vec![layer(14, Format::Raw, "/images/data.raw")]);
        second.serial = Some("DATA".into());
        // IDE and SATA have no other.
        second.sector_size = (!matches!(bus, Bus::Sata | Bus::Ide)).then_some(4096);
        let machine = Plan {
            machine: if bus == Bus::Ide { "pc" } else { "q35" }.into(),
            bus,
            disks: vec![plan().disks.remove(0), second],
            cdroms: vec![layer(16, Format::Raw, "/images/install.iso")],
            ..plan()
        };
        let name = format!("bus_{bus:?}").to_lowercase();
        insta::assert_snapshot!(name, beyond_the_default(&machine));
    }
}

#[test]
fn uefi_firmware_with_a_throwaway_variable_store() {
    let machine = Plan {
        firmware: uefi(),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn little_memory_for_the_emulator() {
    let machine = Plan {
        tcg_buffer_mib: Some(64),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
    let kvm = Plan {
        accelerator: Accelerator::Kvm,
        ..machine
    };
    insta::assert_snapshot!(beyond_the_default(&kvm));
}

#[test]
fn an_emulated_processor_begins_requests_of_disks_and_the_channel_itself() {
    let machine = |accelerator| Plan {
        accelerator,
        agent: Some(AgentPort {
            fd: ChildFd(22),
            name: AGENT_PORT,
        }),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine(Accelerator::Tcg)));
    let kvm = beyond_the_default(&machine(Accelerator::KvmThenTcg));
    assert!(!kvm.contains("ioeventfd"), "{kvm}");
}

#[test]
fn an_accelerator_of_the_users_own() {
    let machine = Plan {
        extra: ["-accel", "tcg,tb-size=32"].map(Into::into).into(),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn a_kernel_without_a_disk() {
    let machine = Plan {
        disks: vec![],
        kernel: Some(DirectKernel {
            kernel: "/boot/vmlinuz".into(),
            initrd: Some("/boot/initrd.img".into()),
            command_line: "console=ttyS0 root=/dev/vda1".into(),
        }),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
    // No Linux, which would take anything for a command.
    let machine = Plan {
        disks: vec![],
        kernel: Some(DirectKernel {
            kernel: "/boot/ipxe.lkrn".into(),
            initrd: None,
            command_line: String::new(),
        }),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn a_network_with_two_published_ports() {
    let publish = |address, host, guest| Publish {
        address,
        host,
        guest,
    };
    let machine = |restricted| Plan {
        network: Network::User {
            publish: vec![
                publish(Ipv4Addr::LOCALHOST, 2222, 22),
                publish(Ipv4Addr::UNSPECIFIED, 8080, 80),
            ],
            restricted,
        },
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine(false)));
    insta::assert_snapshot!("published_ports_alone", beyond_the_default(&machine(true)));
}

#[test]
fn a_network_of_passt() {
    let machine = Plan {
        network: Network::Internet {
            passt: "/usr/bin/passt".into(),
            socket: ChildFd(9),
        },
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn a_screen_over_vnc() {
    let machine = Plan {
        display: Display::Vnc("127.0.0.1:1".into()),
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

#[test]
fn a_machine_that_may_reboot_and_has_arguments_of_the_users() {
    let machine = Plan {
        reboot: true,
        extra: vec!["-device".into(), "virtio-balloon-pci".into()],
        ..plan()
    };
    insta::assert_snapshot!(beyond_the_default(&machine));
}

/// The two differ in nothing but the use of the memory: QEMU restores no other machine.
#[test]
fn a_machine_that_is_saved_and_one_that_is_restored() {
    let machine = |mapping, devices_only| Plan {
        agent: Some(AgentPort {
            fd: ChildFd(22),
            name: AGENT_PORT,
        }),
        network: Network::User {
            publish: vec![],
            restricted: false,
        },
        snapshot: Some(SnapshotConfig {
            memory: ChildFd(23),
            mapping,
            empty_disks: 0,
            generation_id: true,
            devices_only,
        }),
        ..plan()
    };
    let saved = machine(MemoryMapping::Shared, false);
    insta::assert_snapshot!("saved", beyond_the_default(&saved));
    for (name, mapping, devices_only) in [
        ("restored", MemoryMapping::CopyOnWrite, false),
        (
            "restored_read_only",
            MemoryMapping::CopyOnWriteReadOnly,
            false,
        ),
        (
            "restored_from_a_file_that_is_opened_for_it",
            MemoryMapping::CopyOnWriteAnswered,
            false,
        ),
        ("booted_for_checkpoints", MemoryMapping::Boot, false),
        ("branch", MemoryMapping::CopyOnWrite, true),
        ("restored_to_be_saved", MemoryMapping::SharedRestored, false),
    ] {
        let restored = lines(&machine(mapping, devices_only));
        let saved = lines(&saved);
        let saved: Vec<_> = saved.lines().collect();
        let new: Vec<_> = restored
            .lines()
            .filter(|line| !saved.contains(line))
            .collect();
        insta::assert_snapshot!(name, new.join("\n"));
    }
}
