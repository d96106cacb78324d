//! Agreement with QEMU: a header that is accepted here is one that QEMU opens. The reverse
//! does not hold, and is not meant to: QEMU guesses formats and opens data files.

use std::fs;

use super::Images;
use crate::env::random::Random;

/// Mutated headers to compare; each costs one qemu-img.
const CASES: u32 = 200;

#[test]
fn what_is_accepted_is_opened_by_qemu_too() {
    let images = Images::new();
    images.raw("base");
    images.shell("qemu-img create -q -f qcow2 -F raw -b base v3 64M");
    images.shell("qemu-img create -q -f qcow2 -o compat=0.10 -F raw -b base v2 64M");
    images.shell("qemu-img create -q -f qcow2 -o compression_type=zstd,extended_l2=on alone 64M");
    let seeds = ["v3", "v2", "alone"].map(|name| fs::read(images.path(name)).expect("read"));
    // The same headers in every run.
    let mut random = Random::or(0x6269_766f_7561_6321);
    let mut accepted = 0;
    for case in 0..CASES {
        let mut image = seeds[random.below(3) as usize].clone();
        for _ in 0..=random.below(2) {
            let at = 4 + random.below(156) as usize;
            image[at] = match random.below(3) {
                0 => random.below(16) as u8,
                1 => 1 << random.below(8),
                _ => random.below(256) as u8,
            };
        }
        fs::write(images.path("mutated"), &image).expect("written");
        let ours = images.chain(&["mutated", "--format", "qcow2"]);
        assert!([0, 125].contains(&ours.status), "{case}: {}", ours.stderr);
        if ours.status == 0 {
            accepted += 1;
            let qemu = images.command(["qemu-img", "info", "-f", "qcow2", "mutated"]);
            let said = String::from_utf8_lossy(&qemu.stderr);
            assert!(qemu.status.success(), "case {case}: {said}{}", ours.stdout);
        }
    }
    // Else nothing was compared.
    assert!(accepted > CASES / 4, "{accepted}");
}
