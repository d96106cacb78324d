//! `bivouac doctor` on a host that can run guests, and on one that has nothing.

use super::Namespace;
use crate::doctor::{doctor, text};

#[test]
fn a_host_that_can_run_guests_gets_exit_0_and_a_line_for_each_finding() {
    let output = doctor().output().expect("bivouac runs");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("ok    QEMU "), "{text}");
    for line in text.lines() {
        let known = ["ok    ", "warn  ", "      hint: "];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
    }
    assert!(output.stderr.is_empty());
}

#[test]
fn the_same_findings_come_as_json() {
    let output = doctor().arg("--json").output().expect("bivouac runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["works"], true);
    let abouts: Vec<_> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["about"].as_str().expect("a word"))
        .collect();
    assert_eq!(
        abouts,
        [
            "qemu",
            "devices",
            "network",
            "sandbox",
            "kvm",
            "overlay",
            "agent",
            "kernel",
            "filesystems",
            "uefi",
            "tools",
            "tools",
            "tools",
            "tools"
        ]
    );
}

#[test]
fn what_the_kernel_reads_is_listed_and_what_it_cannot() {
    let output = doctor().arg("--json").output().expect("bivouac runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |key: &str| {
        let names = report["filesystems"][key].as_array().expect("a list");
        let names = names.iter().map(|name| name.as_str().expect("a name"));
        names.collect::<Vec<_>>()
    };
    let (readable, unreadable) = (list("readable"), list("unreadable"));
    for name in ["ext2", "ext4", "xfs", "btrfs", "vfat"] {
        assert!(readable.contains(&name), "{readable:?}");
    }
    for name in ["apfs", "refs", "vmfs"] {
        assert!(unreadable.contains(&name), "{unreadable:?}");
    }
    let output = doctor().output().expect("bivouac runs");
    let (reads, lacks) = (readable.join(" "), unreadable.join(" "));
    let line = format!("ok    that kernel reads {reads}; it has no driver for {lacks}\n");
    assert!(text(&output).contains(&line), "{}", text(&output));
}

#[test]
fn a_host_without_qemu_gets_exit_1_and_the_command_that_installs_it() {
    let output = Namespace::new().run(
        "printf 'ID=debian\\n' >os-release; mount --bind os-release /etc/os-release
        mkdir kernels; mount --bind kernels /boot; mount --bind kernels /lib/modules
        mkdir firmware; mount --bind firmware /usr/share/qemu
        unset HOME XDG_CONFIG_HOME; export PATH=/no/programs
        exec \"$BIVOUAC\" doctor --overlay-dir \"$HERE\"",
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    insta::with_settings!({ filters => [
        (r"is a tmpfs of .* free", "is a tmpfs of SIZE"),
        (r"takes memory: \S+", "takes memory: HERE"),
        (r"(lvm|mdadm|zpool|cryptsetup) \([^)]*\)", "$1 (WHERE)"),
        (r"(?m)(no KVM here.*\n.*hint: ).*$", "${1}MODULE OR HARDWARE"),
    ]}, {
        insta::assert_snapshot!(text(&output), @r"
        fail  QEMU was not found: no qemu-system-x86_64 in PATH, no /usr/libexec/qemu-kvm
              hint: `sudo apt-get install qemu-system-x86`, or name it with --qemu PATH
        warn  there is no KVM here: /dev/kvm does not exist; guests are emulated (TCG)
              hint: MODULE OR HARDWARE
        warn  what the guest writes takes memory: HERE is a tmpfs of SIZE
              hint: `--overlay-dir /var/tmp`, if that is a disk
        ok    this program is static, and can be the agent in guests
        warn  there is no kernel /boot/vmlinuz-* with its modules in /lib/modules
              hint: `bivouac kernel fetch` (needs no root), `sudo apt-get install linux-image-amd64`, or set BIVOUAC_KERNEL to the path of a kernel
        warn  no UEFI firmware for the machine q35 was found (0 descriptors in /usr/share/qemu/firmware, /etc/qemu/firmware)
              hint: `sudo apt-get install ovmf`, or name the firmware's file with --firmware PATH
        ok    cryptsetup (WHERE) opens, in the appliance, volumes of BitLocker, and of LUKS what bivouac does not open itself, such as one whose reencryption has not ended
        ok    lvm (WHERE) would add nothing: thin, cached, mirrored and RAID volumes and snapshots are mapped without it, though metadata of thin pools and caches are not checked
        ok    mdadm (WHERE) would add nothing: arrays of each version of the metadata are assembled without it; RAID of a firmware is named, but not opened
        ok    zpool (WHERE) would add nothing: pools of ZFS are named, but not opened
        ");
    });
}
