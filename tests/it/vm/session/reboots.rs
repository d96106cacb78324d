//! A machine that was branched or put back reboots as any other: with its own disks, and stays the
//! session's.

use serde_json::json;

use super::{Client, small};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::residue::{alive, sha256};

const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";

/// Reboots a machine, whose open requests are told, and returns the ids of the boots before and after.
fn reboot(client: &mut Client, machine: &str) -> [String; 2] {
    let before = client.tell(machine, BOOT);
    let open = client.send(
        "exec",
        json!({"machine": machine, "argv": ["sleep", "1000"]}),
    );
    let reboots = client.send(
        "exec",
        json!({"machine": machine, "argv": ["reboot", "-f"]}),
    );
    for id in [open, reboots] {
        let error = client.answer(id)["error"].clone();
        assert_eq!(error["data"]["kind"], "interrupted", "{error}");
        assert_eq!(error["message"], "the guest rebooted");
    }
    let after = client.tell(machine, BOOT);
    client.notified("machine-rebooted", machine);
    [before, after]
}

fn reboot_and_keep_their_disks(options: &[&str]) {
    let base = sha256(&guest("box.raw"));
    let mut client = Client::start(small(options));
    // The kernel draws the boot's id when it is read first.
    client.tell("m1", &format!("echo early > /early; {BOOT}"));
    client.call("checkpoint", json!({}));
    client.call("branch", json!({"checkpoint": "c1"}));
    client.tell("m1", "echo dropped > /dropped");
    client.tell("m2", "echo branch > /who; echo gone > /dev/gone; sync");
    let [before, after] = reboot(&mut client, "m2");
    assert_ne!(before, after);
    // The parent goes on from its boot.
    assert_eq!(client.tell("m1", BOOT), before);
    let disks = "cat /early /who; ls / | grep -c dropped; ls /dev | grep -c gone || :";
    assert_eq!(client.tell("m2", disks), "early\nbranch\n0\n0\n");
    // Again, in the QEMU that it has now; and it is saved as any other.
    let [_, later] = reboot(&mut client, "m2");
    assert_ne!(after, later);
    client.call("checkpoint", json!({"machine": "m2"}));
    client.call("branch", json!({"checkpoint": "c2"}));
    client.tell("m3", "echo third >> /who; sync");
    let [before, after] = reboot(&mut client, "m3");
    assert_eq!(before, later);
    assert_ne!(after, later);
    assert_eq!(client.tell("m3", "cat /who"), "branch\nthird\n");
    assert_eq!(client.tell("m2", "cat /who"), "branch\n");
    // A machine that was put back, with checkpoints of its own since.
    client.call("revert", json!({"checkpoint": "c1"}));
    client.tell("m1", "echo one > /who; sync");
    client.call("checkpoint", json!({}));
    client.tell("m1", "echo two >> /who; sync");
    let [before, after] = reboot(&mut client, "m1");
    assert_ne!(before, after);
    let left = "cat /early /who; ls / | grep -c dropped || :";
    assert_eq!(client.tell("m1", left), "early\none\ntwo\n0\n");
    let qemus = children(client.running.pid());
    assert_eq!(qemus.len(), 3, "{qemus:?}");
    let finished = client.end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    assert!(!qemus.into_iter().any(alive));
    assert_eq!(sha256(&guest("box.raw")), base);
}

#[test]
fn branches_and_machines_that_were_put_back_reboot_with_their_disks() {
    reboot_and_keep_their_disks(&["--warm"]);
}

#[test]
fn branches_reboot_by_qemu_10_with_a_network() {
    let qemu10 = qemu10::options();
    let mut options = vec!["--net", "user"];
    options.extend(qemu10.iter().map(String::as_str));
    reboot_and_keep_their_disks(&options);
}

#[test]
fn a_branch_with_uefi_reboots() {
    let mut client = Client::start(small(&["--firmware", "uefi"]));
    client.call("checkpoint", json!({}));
    client.call("branch", json!({"checkpoint": "c1"}));
    client.tell("m2", "echo branch > /who; sync");
    reboot(&mut client, "m2");
    let efi = "cat /who; ls /sys/firmware | grep efi";
    assert_eq!(client.tell("m2", efi), "branch\nefi\n");
    assert_eq!(client.end().code(), Some(0));
}
