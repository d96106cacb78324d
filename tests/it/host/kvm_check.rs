//! The KVM check on files that are not KVM, and its wording.

use std::path::Path;
use std::time::Duration;

use bivouac::host::kvm::{self, DenyReason, Kvm};
use bivouac::host::kvm_probe::LIMIT;
use nix::errno::Errno;

#[test]
fn a_device_that_does_not_exist_is_absent() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(kvm::check_at(&directory.path().join("kvm")), Kvm::Absent);
}

#[test]
fn a_character_device_or_a_file_that_is_something_else_is_not_kvm() {
    assert_eq!(kvm::check_at(Path::new("/dev/null")), Kvm::NotKvm);
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert_eq!(kvm::check_at(file.path()), Kvm::NotKvm);
}

#[test]
fn a_directory_is_unexpected() {
    let verdict = kvm::check_at(Path::new("/"));
    assert_eq!(
        verdict,
        Kvm::Unexpected {
            step: "open",
            errno: Errno::EISDIR
        }
    );
    insta::assert_snapshot!(verdict, @"KVM fails: open: Is a directory");
}

#[test]
fn every_verdict_is_one_line_with_a_hint_unless_it_works() {
    let elapsed = Duration::from_micros(57);
    let verdicts = [
        Kvm::Works { elapsed },
        Kvm::Absent,
        Kvm::NoHardware,
        Kvm::Forbidden,
        Kvm::Denied(DenyReason::Elsewhere),
        Kvm::Busy,
        Kvm::TooSlow {
            elapsed: LIMIT,
            factor: 1234,
        },
        Kvm::Unexpected {
            step: "KVM_CREATE_VCPU",
            errno: Errno::ENOMEM,
        },
    ];
    let page = include_str!("../../../man/bivouac-run.1");
    for verdict in &verdicts {
        assert_eq!(verdict.hint().is_none(), verdict.works(), "{verdict:?}");
        let documented = format!("\n.Dq {}", verdict.as_str());
        assert!(page.contains(&documented), "{verdict:?} in bivouac-run(1)");
    }
    let lines: Vec<String> = verdicts
        .iter()
        .map(|verdict| format!("{}: {verdict}", verdict.as_str()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    works: KVM runs guests (probe: 57 us)
    absent: there is no KVM here: /dev/kvm does not exist
    no-hardware: there is no KVM here: nothing is behind /dev/kvm
    forbidden: the control group of this process forbids /dev/kvm
    denied: /dev/kvm may not be opened: its mode and ACL allow it, something else does not
    busy: KVM is busy: another hypervisor uses the processor
    too-slow: KVM cannot run guests here: about 1200 times slower than the bare processor
    unexpected: KVM fails: KVM_CREATE_VCPU: Out of memory
    ");
}
