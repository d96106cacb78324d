//! Branches and the machine that they come from go on from the same moment, each on its own.

use std::fs;
use std::path::Path;

use super::{Driver, small};
use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

/// A command that counts in a file in memory, without end.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >/dev/count; usleep 20000; done";

fn count(driver: &mut Driver, machine: &str) -> u64 {
    // It is empty for a moment whenever it is written.
    let told = driver.exec(machine, "until read i </dev/count; do :; done; echo $i");
    told.trim().parse().unwrap()
}

/// Waits until the counter has gone on.
fn counts_on_from(driver: &mut Driver, machine: &str, from: u64) {
    let script =
        format!("while [ \"$(cat /dev/count)\" -le {from} ] 2>/dev/null; do usleep 10000; done");
    driver.exec(machine, &script);
}

#[test]
fn two_branches_and_their_parent_go_on_from_one_moment_and_differ_from_then_on() {
    for options in [&[][..], &["--warm"]] {
        go_on_from_one_moment(small(options));
    }
}

fn go_on_from_one_moment(command: Bivouac) {
    let base = sha256(&guest("box.raw"));
    let mut driver = Driver::start(command);
    driver.exec("root", "echo early >/early");
    driver.done(&format!("start root {COUNTER}"));
    counts_on_from(&mut driver, "root", 3);
    let before = count(&mut driver, "root");
    driver.done("checkpoint root a");
    // The parent's commands and session go on.
    counts_on_from(&mut driver, "root", before);
    driver.exec("root", "echo parent >/who; sync");
    for branch in ["one", "two"] {
        driver.done(&format!("branch a {branch}"));
        let status = format!("/proc/{}/status", driver.qemu(branch));
        let status = fs::read_to_string(status).unwrap();
        assert!(!status.contains("THP_enabled:\t1"), "{status}");
        assert!(count(&mut driver, branch) >= before);
        assert_eq!(
            driver.exec(branch, "cat /early; ls / | grep -c who || :"),
            "early\n0\n"
        );
        driver.exec(branch, &format!("echo {branch} >/who; sync"));
    }
    for machine in ["one", "two", "root"] {
        let now = count(&mut driver, machine);
        counts_on_from(&mut driver, machine, now);
        let expected = if machine == "root" { "parent" } else { machine };
        assert_eq!(driver.exec(machine, "cat /who"), format!("{expected}\n"));
    }
    // A checkpoint of a branch, and back again.
    driver.done("checkpoint one b");
    driver.exec("one", "echo later >/who; sync");
    let old = driver.qemu("one");
    driver.done("revert one b");
    soon("the machine before is gone", || !alive(old));
    assert_eq!(driver.exec("one", "cat /who"), "one\n");
    driver.done("branch b three");
    assert_eq!(driver.exec("three", "cat /early /who"), "early\none\n");
    driver.done("revert root a");
    assert_eq!(driver.exec("root", "ls / | grep -c who || :"), "0\n");
    let qemus = ["root", "one", "two", "three"].map(|name| driver.qemu(name));
    let finished = driver.end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    assert!(!qemus.into_iter().any(alive));
    assert_eq!(sha256(&guest("box.raw")), base);
}

#[test]
fn the_same_by_qemu_10() {
    let directory = Path::new(&qemu10::program()).parent().unwrap().to_owned();
    let command = small(&["--warm", "--net"])
        .env("BIVOUAC_QEMU", qemu10::program())
        .env("BIVOUAC_SANDBOX_READ", directory);
    go_on_from_one_moment(command);
}

/// Numbers of descriptors that QEMU knows are not used for others.
#[test]
fn each_of_many_checkpoints_of_one_machine_keeps_its_disk() {
    let mut driver = Driver::start(small(&["--warm"]));
    for number in 0..6 {
        driver.exec("root", &format!("echo {number} >/number; sync"));
        driver.done(&format!("checkpoint root c{number}"));
        if number % 3 == 0 {
            driver.done(&format!("drop c{number}"));
        }
    }
    driver.exec("root", "echo last >/number; sync");
    let fresh = "echo 3 >/proc/sys/vm/drop_caches; cat /number";
    for number in [1, 2, 4, 5] {
        driver.done(&format!("branch c{number} one"));
        assert_eq!(driver.exec("one", fresh), format!("{number}\n"));
        driver.done("stop one");
    }
    assert_eq!(driver.exec("root", fresh), "last\n");
    assert_eq!(driver.end().code(), Some(0));
}
