//! Which lines of an fstab are mounted, in which order, and why others are skipped.

use proptest::prelude::*;

use super::block_id::{self, BlockId};
use super::plan::{in_order, mounts};
use crate::block::fstab;
use crate::protocol::disks::Kind;

fn known() -> Vec<BlockId> {
    let device = |device: &str, kind, uuid: &str, label: &str| BlockId {
        device: device.into(),
        kind,
        uuid: Some(uuid.into()),
        label: Some(label.into()),
        part_uuid: Some(format!("{uuid}-part")),
        part_label: Some(format!("{label} part")),
        partition: device
            .trim_start_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok(),
        is_disk: false,
        disk: Some("/dev/vda".into()),
        part_kind: None,
        paths: vec![device.replace("/dev/vd", "/dev/sd"), device.into()],
    };
    vec![
        device("/dev/vda1", Kind::Vfat, "ABCD-1234", "EFI"),
        device("/dev/vda2", Kind::Ext4, "0a", "a label"),
        device("/dev/vda3", Kind::Luks, "1b", "secret"),
    ]
}

/// The plan for an fstab: `SOURCE on TARGET OPTIONS`, or `TARGET: REASON` for a skipped line.
fn plan(text: &str) -> Vec<String> {
    let (planned, skipped) = mounts(&fstab::parse(text), "/dev/vda9", &known());
    let planned = in_order(planned).into_iter().map(|mount| {
        let options = mount.options.join(",");
        format!("{} on {} {options}", mount.source, mount.target)
    });
    let skipped = skipped
        .into_iter()
        .map(|line| format!("{}: {}", line.target, line.reason));
    planned
        .chain(skipped)
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn every_way_to_name_a_device_is_understood() {
    for source in [
        "UUID=0A",
        "UUID=\"0a\"",
        "LABEL='a\\040label'",
        "LABEL=a\\040label",
        "PARTUUID=0A-PART",
        "PARTLABEL=a\\040label\\040part",
        "/dev/sda2",
        "/dev/disk/by-uuid/0a",
        "/dev/disk/by-label/a\\x20label",
        "/dev/disk/by-partlabel/a\\x20label\\x20part",
        // Only one partition has this number.
        "/dev/disk/by-path/pci-0000:00:07.0-part2",
        "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part2",
        "ID=ata-QEMU_HARDDISK_QM00001-part2",
        "/dev/disk/by-diskseq/1-part2",
        "/dev/disk/azure/root-part2",
    ] {
        assert_eq!(
            plan(&format!("{source} /a ext4")),
            ["/dev/vda2 on /a"],
            "{source}"
        );
    }
    for source in [
        "LABEL=A\\040LABEL",
        "/dev/sdb2",
        "UUID=",
        "none",
        "/dev/disk/by-id/x",
    ] {
        assert_eq!(
            plan(&format!("{source} /a ext4")),
            ["/a: no such device"],
            "{source}"
        );
    }
}

#[test]
fn a_link_by_hardware_that_may_mean_several_devices_or_the_root_means_none() {
    let find = |source: &str, root: &str, devices: &[BlockId]| {
        let found = block_id::find(source, root, devices);
        found.map_or("-".to_owned(), |device| device.device.clone())
    };
    let known = known();
    assert_eq!(find("/dev/disk/by-id/x-part2", "/dev/vda2", &known), "-");
    assert_eq!(find("/dev/disk/by-id/dm-uuid-x-part2", "", &known), "-");
    let twice = [&known[..], &known].concat();
    assert_eq!(find("/dev/disk/by-id/x-part2", "", &twice), "-");
    let mut whole = known[1].clone();
    (whole.partition, whole.is_disk) = (None, true);
    let with_whole = [&known[..], &[whole]].concat();
    assert_eq!(find("/dev/disk/by-id/x", "", &with_whole), "/dev/vda2");
    assert_eq!(find("/dev/disk/by-id/x", "/dev/vda2", &with_whole), "-");
    assert_eq!(find("/dev/disk/azure/root", "", &with_whole), "-");
}

#[test]
fn what_systemd_mounts_when_it_is_used_is_mounted() {
    for option in [
        "noauto,x-systemd.automount",
        "x-systemd.required-by=a.service,noauto",
    ] {
        let planned = plan(&format!("/dev/sda2 /a ext4 {option}"));
        assert_eq!(planned, ["/dev/vda2 on /a"]);
    }
}

#[test]
fn options_for_init_are_dropped_and_others_kept() {
    assert_eq!(
        plan("/dev/sda1 /boot//efi/ vfat defaults,umask=0077,x-systemd.automount,nofail,ro 0 2"),
        ["/dev/vda1 on /boot/efi umask=0077,ro"]
    );
}

#[test]
fn a_mount_comes_after_what_it_is_on_and_what_it_binds() {
    assert_eq!(
        plan(
            "/a/deep/er /bound none bind\n/dev/sda1 /a/deep vfat\n/dev/sda2 /a ext4\n\
             /dev/sda2 /bound/x ext4"
        ),
        [
            "/dev/vda2 on /a",
            "/dev/vda1 on /a/deep",
            "/a/deep/er on /bound",
            "/dev/vda2 on /bound/x"
        ]
    );
    // Even if they form a cycle.
    assert_eq!(plan("/b /a none bind\n/a /b none bind\n").len(), 2);
}

#[test]
fn skipped_lines_have_a_reason() {
    for (line, reason) in [
        ("/dev/sda3 /a ext4", "contains luks, not a filesystem"),
        ("/dev/sda2 none swap", "swap"),
        ("/dev/sda2 /../etc ext4", "not a valid mount point"),
        ("/dev/sda2 relative ext4", "not a valid mount point"),
        ("host:/x /a nfs4", "on the network"),
        ("//host/x /a cifs", "on the network"),
        ("/dev/sda2 /a ext4 _netdev", "on the network"),
        ("proc /proc proc", "a virtual filesystem"),
        ("/dev/sda2 /a ext4 noauto", "noauto"),
        ("../x /a none bind", "a bind mount of an invalid path"),
        ("x /a fuse.sshfs", "on the network"),
        ("x /a fuse.other", "of type fuse.other"),
    ] {
        let said = plan(line).remove(0);
        assert!(said.ends_with(&format!(": {reason}")), "{line}: {said}");
    }
}

proptest! {
    #[test]
    fn no_line_is_lost_and_every_target_is_absolute(
        fields in prop::collection::vec((
            prop::sample::select(vec!["/dev/sda1", "UUID=0a", "/a/b", "x", "a:/b", "LABEL="]),
            "(/[a-c.]{0,3}){0,4}",
            prop::sample::select(vec!["ext4", "none", "swap", "auto", "nfs"]),
            prop::sample::select(vec!["bind", "defaults", "noauto", "ro", "rbind,x"]),
        ), 0..30)
    ) {
        let fields: Vec<_> = fields.into_iter().filter(|line| !matches!(&*line.1, "/" | "")).collect();
        let lines = fields.iter().map(|(a, b, c, d)| format!("{a} {b} {c} {d}\n"));
        let (planned, skipped) = mounts(&fstab::parse(&lines.collect::<String>()), "/dev/vda9", &known());
        prop_assert_eq!(planned.len() + skipped.len(), fields.len());
        for mount in planned {
            prop_assert!(mount.target.starts_with('/'));
            prop_assert!(!mount.target.split('/').any(|part| matches!(part, "." | "..")));
        }
    }
}
