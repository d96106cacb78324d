//! Nothing is left of a mount, at whatever instant bivouac is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::mounts;
use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::guest;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

/// A process, and those that it has started.
fn family(pid: Pid) -> Vec<Pid> {
    let below = children(pid).into_iter().flat_map(family);
    below.chain([pid]).collect()
}

#[test]
fn no_mount_and_no_process_is_left_at_whatever_instant_it_is_killed() {
    let image = guest("box.qcow2");
    let before = sha256(&image);
    let place = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let (mut served, mut mounted) = (0, 0);
    for round in 0..30 {
        let command = Bivouac::new().arg("mount").arg(&image);
        let line = "sleep 600 & while find {} -type f | xargs cat >/dev/null; do echo more; done";
        let running = match round % 2 {
            0 => command.args(["--", "sh", "-c", line]).start(),
            _ => command.arg(place.path()).start(),
        };
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        let family = family(running.pid());
        served += usize::from(running.console().contains("more"));
        mounted += usize::from(!mounts(place.path()).is_empty());
        running.signal(Signal::SIGKILL);
        running.wait();
        soon("nothing is mounted", || mounts(place.path()).is_empty());
        soon("no process is left", || {
            !family.iter().any(|pid| alive(*pid))
        });
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            0,
            "round {round}"
        );
    }
    assert!(
        served + mounted > 3,
        "{served} and {mounted}: killed too early"
    );
    assert_eq!(sha256(&image), before);
}

/// It has mounted then, but cannot pass on the device.
#[test]
fn no_mount_is_left_when_bivouac_is_killed_while_fusermount3_works() {
    let dir = tempfile::tempdir().unwrap();
    let (place, bin) = (dir.path().join("mount"), dir.path().join("bin"));
    fs::create_dir(&place).unwrap();
    fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let ended = dir.path().join("ended");
    let script = format!(
        "#!/bin/sh\nPATH='{path}'\n[ \"$1\" != -u ] || exec fusermount3 \"$@\"\n\
         read -r _ _ _ bivouac _ </proc/$PPID/stat\nkill -9 $bivouac\n\
         fusermount3 \"$@\"\nstatus=$?\n>'{}'\nexit $status\n",
        ended.display()
    );
    let program = bin.join("fusermount3");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let running = Bivouac::new()
        .args(["mount", guest("box.qcow2").to_str().unwrap()])
        .arg(&place)
        .env("PATH", format!("{}:{path}", bin.display()))
        .start();
    let finished = running.wait();
    assert_eq!(finished.status.signal(), Some(9), "{finished:?}");
    soon("fusermount3 has ended", || ended.exists());
    soon("nothing is mounted", || mounts(&place).is_empty());
}

#[test]
fn nothing_is_left_when_qemu_dies_or_somebody_unmounts_it() {
    let qemu = |mount: &mut super::Mounted| mount.running.qemu();
    let mut mount = super::Mounted::new(&guest("box.qcow2"), &[]);
    nix::sys::signal::kill(qemu(&mut mount), Signal::SIGKILL).unwrap();
    let finished = mount.running.wait();
    assert_eq!(finished.code(), Some(123), "{finished:?}");
    assert!(mounts(mount.place.path()).is_empty());

    let mount = super::Mounted::new(&guest("box.qcow2"), &[]);
    let place = mount.place.path().to_str().unwrap();
    crate::env::filesystems::run("fusermount3", &["-u", place]);
    let finished = mount.running.wait();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
}
