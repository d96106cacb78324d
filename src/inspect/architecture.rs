//! What processor a system is made for, by the header of one of its programs.

use crate::linux::elf;

/// Programs that every system has one of.
pub const PROGRAMS: [&str; 6] = [
    "/bin/sh",
    "/usr/bin/env",
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/usr/bin/bash",
    "/bin/busybox",
];

/// The name that uname(1) has for the processor of an ELF program, by the program's first
/// [`elf::MACHINE_LENGTH`] bytes; `None` if it is not an ELF program.
pub fn of_program(header: &[u8]) -> Option<String> {
    let machine = elf::Machine::of(header)?;
    let name = match (machine.number, machine.is_64, machine.is_little) {
        (3, ..) => "i386",
        (62, true, _) => "x86_64",
        (62, false, _) => "x32",
        (183, _, true) => "aarch64",
        (183, _, false) => "aarch64_be",
        (40, ..) => "arm",
        (243, true, _) => "riscv64",
        (243, false, _) => "riscv32",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (20, ..) => "ppc",
        (22, true, _) => "s390x",
        (22, false, _) => "s390",
        (8, true, true) => "mips64el",
        (8, true, false) => "mips64",
        (8, false, true) => "mipsel",
        (8, false, false) => "mips",
        (258, ..) => "loongarch64",
        (2 | 18, ..) => "sparc",
        (43, ..) => "sparc64",
        (15, ..) => "parisc",
        (4, ..) => "m68k",
        (0x9026, ..) => "alpha",
        (50, ..) => "ia64",
        (other, ..) => return Some(format!("unknown (ELF machine {other})")),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut header = b"\x7fELF".to_vec();
        header.extend([class, data, 1, 0]);
        header.resize(18, 0);
        header.extend(machine);
        header
    }

    #[test]
    fn a_program_tells_its_processor() {
        assert_eq!(of_program(&header(2, 1, [62, 0])).unwrap(), "x86_64");
        assert_eq!(of_program(&header(2, 2, [0, 22])).unwrap(), "s390x");
        assert_eq!(of_program(&header(1, 1, [3, 0])).unwrap(), "i386");
        assert_eq!(
            of_program(&header(2, 1, [1, 1])).unwrap(),
            "unknown (ELF machine 257)"
        );
        for none in [&b"#!/bin/sh\n is not an ELF file"[..], b"\x7fELF", b""] {
            assert_eq!(of_program(none), None);
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(of_program(&own).unwrap(), std::env::consts::ARCH);
    }
}
