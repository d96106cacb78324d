//! Every way in which a command in a booted image, or the machine under it, may end, has its exit
//! status. The image is the box, booted by its own init, BusyBox's.

use nix::sys::signal::{Signal, kill};

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::guests::{guest, tiny};
use crate::env::residue::sha256;
use crate::env::trees;

/// `bivouac run [OPTIONS] box.qcow2 -- COMMAND`.
fn run(options: &[&str], command: &[&str]) -> Bivouac {
    Bivouac::run()
        .args(tiny("switch"))
        .args(options)
        .arg(guest("box.qcow2"))
        .arg("--")
        .args(command)
}

/// The same in a clone of the box that has booted once for all: what a command's end means is
/// the same there, and a clone is there at once.
fn warm(options: &[&str], command: &[&str]) -> Bivouac {
    run(&[&["--warm"], options].concat(), command)
}

fn ends(script: &str, status: i32, said: &str) -> Finished {
    let finished = warm(&[], &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(status), "{script}: {finished:?}");
    assert!(finished.stderr.contains(said), "{script}: {finished:?}");
    finished
}

#[test]
fn a_commands_own_end_is_the_runs() {
    let before = sha256(&guest("box.qcow2"));
    let options = ["--hostname", "web-1", "--new-machine-id"];
    let script = "echo out; echo err >&2; hostname; cat /etc/hostname; ls /etc/machine-id; exit 7";
    let finished = run(&options, &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(finished.stdout, "out\nweb-1\nweb-1\n", "{finished:?}");
    assert!(finished.stderr.starts_with("err\n"), "{finished:?}");
    // Where there was none, nobody reads it.
    let said = "/etc/machine-id: No such file";
    assert!(finished.stderr.contains(said), "{finished:?}");
    ends("exit 255", 255, "");
    ends("kill -TERM $$", 128 + 15, "");
    ends("kill -KILL $$", 128 + 9, "");
    assert_eq!(sha256(&guest("box.qcow2")), before);
}

#[test]
fn a_command_that_cannot_be_invoked_gives_126_or_127() {
    for (program, status, said) in [
        ("no-such-program", 127, "not found in the guest"),
        ("/bin/not-a-program", 126, "cannot be executed in the guest"),
    ] {
        let finished = warm(&[], &[program]).output();
        assert_eq!(finished.code(), Some(status), "{program}: {finished:?}");
        assert!(finished.stderr.contains(said), "{program}: {finished:?}");
    }
}

#[test]
fn a_crash_under_a_command_is_122_at_once_and_says_why() {
    let script = "echo c > /proc/sysrq-trigger; sleep 1000";
    let said = "Kernel panic - not syncing: sysrq";
    ends(script, 122, said);
    // And in a machine that was booted for it.
    let finished = run(&[], &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(122), "{finished:?}");
    assert!(finished.stderr.contains(said), "{finished:?}");
    ends("reboot -f; sleep 1000", 122, "reset");
    ends("poweroff -f; sleep 1000", 122, "powered off");
}

#[test]
fn a_time_out_is_124_and_a_qemu_that_is_killed_is_123() {
    assert_eq!(warm(&[], &["true"]).output().code(), Some(0));
    let mut running = warm(&["--timeout", "10"], &["sh", "-c", "echo here; sleep 1000"]).start();
    // Not before the command runs: a clone is there in a second.
    running.wait_for("here");
    let finished = running.wait();
    assert_eq!(finished.code(), Some(124), "{finished:?}");

    let mut running = warm(&[], &["sh", "-c", "echo here; sleep 1000"]).start();
    running.wait_for("here");
    let qemu = crate::env::bivouac::children(running.pid());
    kill(qemu[0], Signal::SIGKILL).unwrap();
    let finished = running.wait();
    assert_eq!(finished.code(), Some(123), "{finished:?}");
    assert!(
        finished.stderr.contains("killed by SIGKILL"),
        "{finished:?}"
    );
}

/// Ten thousand small files, and one that is large and nearly all hole, there and back.
#[test]
fn trees_go_in_and_come_out_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, back) = (dir.path().join("tree"), dir.path().join("back"));
    trees::plant(&tree);
    let copy_in = format!("{}:/root/in", tree.display());
    let copy_out = format!("/root/in:{}", back.display());
    let options = ["--copy-in", &copy_in, "--copy-out", &copy_out];
    let script = "stat -c %s /root/in/sparse; cat /root/in/d99/link; exit 3";
    // Also where the command fails.
    let finished = warm(&options, &["sh", "-c", script]).output();
    assert_eq!(finished.code(), Some(3), "{finished:?}");
    assert_eq!(finished.stdout, "10737418240\n99 1\n", "{finished:?}");
    trees::assert_same(&back, &tree);
}

/// The same command twice, with a guest that leaves a link in the place of its result.
#[test]
fn no_copy_follows_a_link_that_the_guest_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(path("victim")).unwrap();
    std::fs::create_dir(path("out")).unwrap();
    let victim = path("victim");
    let script = format!("cd /root; ln -s {victim} T; ln -s {victim} log; echo text > x");
    let copies = [("T", "T"), ("log", "out"), ("x", "out/log/")];
    let copies = copies.map(|(from, to)| format!("--copy-out=/root/{from}:{}", path(to)));
    let options = copies.each_ref().map(String::as_str);
    let first = warm(&options, &["sh", "-c", &script]).output();
    // Within one run: the last copy.
    assert_eq!(first.code(), Some(125), "{first:?}");
    let said = "symbolic link to";
    assert!(
        first.stderr.contains(said) && first.stderr.contains("out/log"),
        "{first:?}"
    );
    // The next run does not even start the machine.
    let again = warm(&options[..1], &["sh", "-c", &script]).output();
    assert_eq!(again.code(), Some(125), "{again:?}");
    assert!(again.stderr.contains("rm "), "{again:?}");
    assert_eq!(std::fs::read_dir(victim).unwrap().count(), 0);
}
