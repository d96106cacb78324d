//! Checkpoints hold every disk, and the variables of the firmware.

use std::fs::File;

use super::{Driver, debian};
use crate::env::residue::sha256;

#[test]
fn two_disks_and_the_variables_of_uefi_are_as_they_were_in_each_branch() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("second.raw");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let before = sha256(&disk);
    let options = ["--uefi", "--disk", disk.to_str().unwrap()];
    let mut driver = Driver::start(debian(&options));
    let write = |text: &str| format!("echo {text} | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync");
    let read = "head -c 4 /dev/vdb";
    let name = "/sys/firmware/efi/efivars/Bivouac-11111111-2222-3333-4444-555555555555";
    let mount = "grep -q efivarfs /proc/mounts || mount -t efivarfs efi /sys/firmware/efi/efivars";
    let set =
        |text: &str| format!("chattr -i {name} 2>/dev/null; printf '\\7\\0\\0\\0{text}' >{name}");
    let get = format!("tail -c 4 {name}");
    driver.exec("root", mount);
    driver.exec("root", &format!("{}; {}", write("aaa"), set("AAAA")));
    driver.done("checkpoint root first");
    driver.exec("root", &format!("{}; {}", write("bbb"), set("BBBB")));
    driver.done("checkpoint root second");
    driver.exec("root", &format!("{}; {}", write("ccc"), set("CCCC")));
    for (checkpoint, disk, variable) in [("first", "aaa\n", "AAAA"), ("second", "bbb\n", "BBBB")] {
        for branch in ["x", "y"] {
            let branch = format!("{checkpoint}-{branch}");
            driver.done(&format!("branch {checkpoint} {branch}"));
            // Not what its memory still holds of the disk.
            let dropped = format!("echo 3 >/proc/sys/vm/drop_caches; {read}");
            assert_eq!(driver.exec(&branch, &dropped), disk, "{branch}");
            assert_eq!(driver.exec(&branch, &get), variable, "{branch}");
            driver.exec(&branch, &format!("{}; {}", write("xxx"), set("XXXX")));
            assert_eq!(driver.exec(&branch, &format!("{read}; {get}")), "xxx\nXXXX");
        }
    }
    assert_eq!(driver.exec("root", &format!("{read}; {get}")), "ccc\nCCCC");
    assert_eq!(driver.end().code(), Some(0));
    assert_eq!(sha256(&disk), before);
}
