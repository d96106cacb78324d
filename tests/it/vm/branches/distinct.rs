//! What tells branches of one checkpoint apart, and that nothing else does.

use std::collections::BTreeSet;

use super::{Driver, small};

/// QEMU's own address, which the checkpoint has.
const FIRST_ADDRESS: &str = "52:54:00:12:34:56";

/// The first half of the VM generation ID, 40 bytes behind the address that the ACPI table says in a
/// constant named VGIA (QEMU, docs/specs/vmgenid.rst). This guest's kernel has no driver for it.
const GENERATION_ID: &str = "table=$(grep -l VGIA /sys/firmware/acpi/tables/SSDT*); \
     at=$(od -An -v -tx1 $table | tr -d ' \\n' | \
     sed 's/.*564749410c\\(..\\)\\(..\\)\\(..\\)\\(..\\).*/0x\\4\\3\\2\\1/'); devmem $((at+40)) 64";

#[test]
fn branches_differ_in_random_numbers_generation_id_and_address_and_in_nothing_else() {
    let mut driver = Driver::start(small(&["--net", "--overlay-memory"]));
    driver.exec(
        "root",
        "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; echo tmp >/dev/x",
    );
    let address = "cat /sys/class/net/eth0/address";
    assert_eq!(driver.exec("root", address).trim(), FIRST_ADDRESS);
    driver.done("checkpoint root a");
    let machines = ["one", "two", "three"];
    for machine in &machines[..2] {
        driver.done(&format!("branch a {machine}"));
    }
    driver.done("checkpoint one b");
    driver.done("branch b three");
    // glibc's getrandom(2), the kernel's pool, the MAC address, and the generation id.
    let random = "head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; \
         cat /sys/class/net/eth0/address";
    let random = format!("{random}; {GENERATION_ID}");
    let same = "hostname; cat /etc/hostname /dev/x /proc/cmdline; ifconfig eth0 | grep 'inet addr'; \
         ls /; mount; cat /proc/cpuinfo | grep -v MHz; cat /sys/block/*/size";
    let mut seen = BTreeSet::from([FIRST_ADDRESS.to_owned()]);
    let expected = driver.exec("root", same);
    for machine in machines {
        for line in driver.exec(machine, &random).lines() {
            assert!(seen.insert(line.to_owned()), "{line} twice");
        }
        assert_eq!(driver.exec(machine, same), expected);
    }
    assert_eq!(seen.len(), 1 + 4 * machines.len());
    // The parent keeps its own, and its network.
    assert_eq!(driver.exec("root", address).trim(), FIRST_ADDRESS);
    for machine in ["root", "one", "two", "three"] {
        // The router is the host's side of the network.
        driver.exec(machine, "ping -c 1 -W 20 10.0.2.2");
    }
    assert_eq!(driver.end().code(), Some(0));
}
