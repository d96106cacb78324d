//! The KVM check: this host's own device, and devices of every other kind.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bivouac::host::kvm::{self, DEVICE, Kvm};
use bivouac::host::kvm_probe::{self, LIMIT, Timing};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::time::{ClockId, clock_gettime};

use super::Namespace;

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("a clock")
        .into()
}

#[test]
fn the_verdict_on_this_hosts_kvm_agrees_with_what_opening_it_says_and_with_itself() {
    let first = kvm::check();
    match File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_CLOEXEC)
        .open(DEVICE)
    {
        Ok(_) => assert!(
            matches!(first, Kvm::Works { .. } | Kvm::TooSlow { .. }),
            "{first:?}"
        ),
        Err(error) => match Errno::from_raw(error.raw_os_error().expect("an errno")) {
            Errno::ENOENT => assert_eq!(first, Kvm::Absent),
            Errno::EACCES => assert!(matches!(first, Kvm::Denied(_)), "{first:?}"),
            Errno::EPERM => assert_eq!(first, Kvm::Forbidden),
            Errno::ENODEV | Errno::ENXIO => assert_eq!(first, Kvm::NoHardware),
            other => assert!(matches!(first, Kvm::Unexpected { errno, .. } if errno == other)),
        },
    }
    for _ in 0..5 {
        assert_eq!(kvm::check().as_str(), first.as_str());
    }
}

#[test]
fn a_longer_loop_does_not_make_the_check_longer_once_the_limit_is_reached() {
    let cost = |iterations| {
        let start = processor_time();
        let timing = trial(iterations);
        (timing, processor_time() - start)
    };
    let (Some(short), _) = cost(20_000) else {
        return;
    };
    let (long, long_cost) = cost(u16::MAX);
    let long = long.expect("it has just run");
    assert!(long_cost < LIMIT * 4, "{long_cost:?}");
    if !short.keeps_up {
        assert!(!long.keeps_up);
        assert!(long.iterations < u16::MAX);
        assert!(short.factor() > 10, "{short:?}");
    }
    println!("measured: {short:?}, then {long:?}");
}

#[test]
fn a_loop_short_enough_for_this_kvm_runs_to_its_end() {
    if let Some(timing) = trial(10) {
        assert!(timing.keeps_up && timing.iterations == 10, "{timing:?}");
        println!("measured: {timing:?}");
    }
}

/// A trial of so many iterations by this host's KVM. Where it cannot be had, which the check must
/// then say too, nothing is measured, and the test says that.
fn trial(iterations: u16) -> Option<Timing> {
    match kvm_probe::run(Path::new(DEVICE), iterations) {
        Ok(timing) => Some(timing),
        Err(error) => {
            println!("NOT measured, this host has no KVM for us: {error:?}");
            assert!(!kvm::check().works());
            None
        }
    }
}

#[test]
fn the_check_leaves_the_signal_mask_and_the_pending_signals_and_no_descriptor() {
    let mask = || {
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, None, Some(&mut mask)).expect("a mask");
        mask
    };
    let pending = || {
        let status = fs::read_to_string("/proc/thread-self/status").expect("a status");
        status
            .lines()
            .find(|line| line.starts_with("SigPnd"))
            .map(str::to_owned)
    };
    let before = (mask(), pending());
    kvm::check();
    assert_eq!((mask(), pending()), before);
    // Other tests check as well, and a thread closes what each has opened.
    let deadline = Instant::now() + Duration::from_secs(60);
    while open_kvm_descriptors() > 0 {
        assert!(Instant::now() < deadline, "a descriptor of KVM stays open");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn open_kvm_descriptors() -> usize {
    let entries = fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains("kvm"))
        .count()
}

/// What `doctor` says about the `/dev/kvm` that the script makes, as the user it becomes.
fn finding(script: &str) -> String {
    let doctor = r#""$BIVOUAC" doctor --json --qemu nowhere || true"#;
    Namespace::new().finding("kvm", &format!("touch dev/kvm\n{script} {doctor}"))
}

#[test]
fn who_is_not_in_the_devices_group_is_told_which() {
    insta::assert_snapshot!(finding("chown 0:8 dev/kvm; chmod 660 dev/kvm; $STRANGER"), @r"
    warn: /dev/kvm may not be opened: you are not in the group mail; guests are emulated (TCG)
    `sudo usermod -aG mail $USER`, and log in again
    ");
}

#[test]
fn who_is_in_the_group_by_now_is_told_to_log_in_again() {
    let script = "
        grep -v ^games /etc/passwd >passwd; echo games:x:1234:1234::/:/bin/sh >>passwd
        grep -v ^mail /etc/group >group; echo mail:x:8:games >>group
        mount --bind passwd /etc/passwd; mount --bind group /etc/group
        chown 0:8 dev/kvm; chmod 660 dev/kvm; $STRANGER";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm may not be opened: you are in the group mail, but not since this login; guests are emulated (TCG)
    log in again, or `newgrp mail` in this shell
    ");
}

#[test]
fn a_mode_that_lets_nobody_in_is_told() {
    insta::assert_snapshot!(finding("chmod 600 dev/kvm; $STRANGER"), @r"
    warn: /dev/kvm may not be opened: its mode does not give you access; guests are emulated (TCG)
    `sudo setfacl -m u:$USER:rw /dev/kvm`
    ");
}

#[test]
fn an_acl_whose_entry_denies_the_group_is_named_though_the_mode_shows_rw() {
    let script = "
        chown 0:1234 dev/kvm; chmod 660 dev/kvm; setfacl -m u:8:rw,g::- dev/kvm
        case $(stat -c %A dev/kvm) in ?rw-rw-*) ;; *) exit 1;; esac
        $STRANGER";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm may not be opened: its ACL says `group::---`; guests are emulated (TCG)
    `sudo setfacl -b /dev/kvm`, or `sudo setfacl -m g::rw /dev/kvm`
    ");
}

#[test]
fn an_acl_whose_mask_denies_is_named() {
    let script = "
        chown 0:1234 dev/kvm; chmod 660 dev/kvm; setfacl -m u:8:rw,g::rw,m::r dev/kvm; $STRANGER";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm may not be opened: its ACL is limited by `mask::r--`; guests are emulated (TCG)
    `sudo setfacl -b /dev/kvm`, or `sudo setfacl -m g::rw /dev/kvm`
    ");
}

#[test]
fn an_acl_that_denies_the_user_by_name_is_named() {
    let script = "chmod 666 dev/kvm; setfacl -m u:1234:r dev/kvm; $STRANGER";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm may not be opened: its ACL says `user:1234:r--`; guests are emulated (TCG)
    `sudo setfacl -m u:$USER:rw /dev/kvm`
    ");
}

#[test]
fn an_acl_that_lets_the_user_in_does_though_the_group_would_not() {
    let script = "chmod 600 dev/kvm; setfacl -m u:1234:rw dev/kvm; $STRANGER";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm is not KVM; guests are emulated (TCG)
    `sudo rm /dev/kvm && sudo mknod -m 660 /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm`
    ");
}

#[test]
fn a_device_that_is_refused_although_its_mode_allows_it_points_elsewhere() {
    let script = "mount --bind /dev/null /dev/kvm; mount -o remount,bind,nodev /dev/kvm;";
    insta::assert_snapshot!(finding(script), @r"
    warn: /dev/kvm may not be opened: its mode and ACL allow it, something else does not; guests are emulated (TCG)
    see whether it is mounted nodev (`findmnt -T /dev/kvm`), or a security module refuses it (`dmesg | grep -i denied`)
    ");
}

/// The minor number 254 of the miscellaneous devices is nobody's. Needs root, for mknod.
#[test]
fn a_device_without_a_driver_behind_it_is_no_hardware() {
    let found = finding("rm dev/kvm; mknod dev/kvm c 10 254;");
    let (line, hint) = found.split_once('\n').expect("two lines");
    insta::assert_snapshot!(line,
        @"warn: there is no KVM here: nothing is behind /dev/kvm; guests are emulated (TCG)");
    assert!(
        hint.contains("modprobe") || hint.contains("virtualisation"),
        "{hint}"
    );
}
