//! `run --keep`: the overlay becomes an image, complete or not at all.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::ended;
use crate::env::bivouac::{Bivouac, Finished};
use crate::env::guests::{guest, tiny};
use crate::env::images::qemu_img;
use crate::env::mount_ns::MountNs;
use crate::env::pty::OnTerminal;
use crate::env::qemu10;
use crate::env::random::Random;
use crate::env::residue::{alive, sha256};
use crate::env::wait::soon;

/// The box on an image of one's own, booted by its own init.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir_in("/var/tmp").unwrap());
        fs::copy(guest("box.raw"), fixture.path("box.raw")).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, options: &[&str], image: &str, script: &str) -> Finished {
        Bivouac::run()
            .args(tiny("switch"))
            .args(options)
            .arg(self.path(image))
            .args(["--", "sh", "-c", script])
            .output()
    }

    /// A run whose disk is kept as `name`.
    fn keep(&self, name: &str, options: &[&str], image: &str, script: &str) -> Finished {
        let keep = format!("--keep={}", self.path(name).display());
        self.run(&[&[&*keep], options].concat(), image, script)
    }

    /// That the image is whole, its header has this backing file, and it boots with the change in it.
    fn check(&self, name: &str, backing: Option<&str>, changed: &str) {
        let path = self.path(name);
        qemu_img(&["check", "-q"], &[&path]);
        let chain = Bivouac::new().args(["chain", "--json"]).arg(&path).output();
        assert_eq!(chain.code(), Some(0), "{chain:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let header = fs::read(&path).unwrap();
        let at = u64::from_be_bytes(header[8..16].try_into().unwrap()) as usize;
        let length = u32::from_be_bytes(header[16..20].try_into().unwrap()) as usize;
        let name = String::from_utf8(header[at..at + length].to_vec()).unwrap();
        assert_eq!((at > 0).then_some(&*name), backing);
        let booted = self.run(&[], path.to_str().unwrap(), "cat /etc/kept");
        ended(&booted, 0);
        assert_eq!(booted.stdout, changed);
    }
}

const CHANGE: &str = "echo changed >/etc/kept; seq 100000 >/root/numbers";

#[test]
fn what_a_run_has_written_is_kept_and_boots_with_each_qemu() {
    let fixture = Fixture::new();
    let before = sha256(&fixture.path("box.raw"));
    let kept = fixture.keep("kept.qcow2", &[], "box.raw", CHANGE);
    ended(&kept, 0);
    let said = format!(
        "kept {:?}, over \"box.raw\" (raw)",
        fixture.path("kept.qcow2")
    );
    assert!(kept.stderr.contains(&said), "{kept:?}");
    fixture.check("kept.qcow2", Some("box.raw"), "changed\n");

    let script = "echo more >>/etc/kept; exit 7";
    let options = qemu10::options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // An image of a run on an image that was kept; the command's status is the run's.
    ended(
        &fixture.keep("more.qcow2", &options, "kept.qcow2", script),
        7,
    );
    fixture.check("more.qcow2", Some("kept.qcow2"), "changed\nmore\n");

    for (name, options) in [("full.qcow2", &[][..]), ("full10.qcow2", &options[..])] {
        let options = [&["--keep-full"], options].concat();
        ended(
            &fixture.keep(name, &options, "more.qcow2", "rm /root/numbers"),
            0,
        );
        fixture.check(name, None, "changed\nmore\n");
    }
    assert_eq!(sha256(&fixture.path("box.raw")), before);
}

#[test]
fn of_a_warm_run_all_is_kept_that_lies_on_the_image() {
    let fixture = Fixture::new();
    let before = sha256(&fixture.path("box.raw"));
    for (name, options) in [("kept", &[][..]), ("full", &["--keep-full"])] {
        let options = [&["--warm"], options].concat();
        ended(&fixture.keep(name, &options, "box.raw", CHANGE), 0);
        let backing = (name == "kept").then_some("box.raw");
        fixture.check(name, backing, "changed\n");
    }
    assert_eq!(sha256(&fixture.path("box.raw")), before);
}

#[test]
fn an_existing_file_is_kept_and_an_image_of_the_machine_is_never_replaced() {
    let fixture = Fixture::new();
    fs::write(fixture.path("old"), "old").unwrap();
    let refused = fixture.keep("old", &[], "box.raw", "true");
    ended(&refused, 125);
    assert!(
        refused.stderr.contains("hint: --force replaces it"),
        "{refused:?}"
    );
    assert_eq!(fs::read(fixture.path("old")).unwrap(), b"old");
    let itself = fixture.keep("box.raw", &["--force"], "box.raw", "true");
    ended(&itself, 125);
    assert!(
        itself.stderr.contains("this is an image of the machine"),
        "{itself:?}"
    );
    ended(&fixture.keep("old", &["--force"], "box.raw", CHANGE), 0);
    fixture.check("old", Some("box.raw"), "changed\n");
    let names = fs::read_dir(fixture.0.path()).unwrap().count();
    assert_eq!(names, 2, "nothing but the two images");
}

#[test]
fn each_disk_is_kept_and_one_that_lies_elsewhere_is_named_in_full() {
    let fixture = Fixture::new();
    let other = tempfile::tempdir_in("/var/tmp").unwrap();
    let data = other.path().join("data.raw");
    fs::write(&data, vec![0; 1 << 20]).unwrap();
    let disk = format!("--disk={}", data.display());
    let script = "echo data >/dev/vdb; echo changed >/etc/kept";
    let kept = fixture.keep("kept.qcow2", &[&disk], "box.raw", script);
    ended(&kept, 0);
    assert!(
        kept.stderr.contains("hint: to open it, --backing raw:"),
        "{kept:?}"
    );
    fixture.check("kept.qcow2", Some("box.raw"), "changed\n");
    let second = fixture.path("kept-disk1.qcow2");
    let raw = fixture.path("second.raw");
    qemu_img(&["check", "-q"], &[&second]);
    qemu_img(&["convert", "-O", "raw"], &[&second, &raw]);
    assert!(fs::read(raw).unwrap().starts_with(b"data\n"));
    assert!(fs::read(data).unwrap().iter().all(|byte| *byte == 0));
}

/// Whether the run's image is there; it is whole then, and taken away.
fn takes_whole_image(ns: &MountNs) -> bool {
    let path = ns.path("work/kept.qcow2");
    let is_there = path.exists();
    if is_there {
        ns.shell(&format!(
            "qemu-img check -q {}",
            ns.inside("work/kept.qcow2")
        ));
        fs::remove_file(path).unwrap();
    }
    is_there
}

#[test]
fn nothing_is_left_of_a_run_that_is_killed_but_a_whole_image_whatever_the_instant() {
    killed_rounds(&[]);
}

#[test]
fn nothing_is_left_of_a_run_that_is_killed_but_a_whole_copy_whatever_the_instant() {
    killed_rounds(&["--keep-full"]);
}

/// Half of thirty rounds, so that two cores share them.
fn killed_rounds(options: &[&str]) {
    let ns = MountNs::new();
    let before = sha256(&ns.image());
    let free = ns.free();
    let mut random = Random::new();
    let mut whole = 0;
    for round in 0..15 {
        let run = ns.run_tiny("poweroff").args(["--keep", "kept.qcow2"]);
        let mut running = run.args(options).start();
        let qemu = running.qemu();
        // Most instants are at the end, where the image is made.
        if random.below(4) > 0 {
            running.wait_for("Power down");
            std::thread::sleep(Duration::from_millis(random.below(60)));
        } else {
            std::thread::sleep(Duration::from_millis(random.below(2000)));
        }
        running.signal(Signal::SIGKILL);
        running.wait();
        soon("QEMU is gone", || !alive(qemu));
        whole += u32::from(takes_whole_image(&ns));
        let residue = ns.residue();
        assert!(
            residue.is_empty(),
            "round {round}: left behind: {residue:?}"
        );
        soon("the space is given back", || ns.free() >= free);
    }
    println!("{whole} of 15 images were complete");
    assert_eq!(sha256(&ns.image()), before);
}

#[test]
fn ctrl_a_k_keeps_the_disks_of_a_run_that_was_started_without() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("tiny.qcow2");
    let mut command = Bivouac::run().args(tiny("echo")).arg(&image).command();
    command.stdin(Stdio::null()).current_dir(dir.path());
    let mut terminal = OnTerminal::start(command);
    terminal.wait_for("tiny: ready");
    for _ in 0..2 {
        terminal.press("\u{1}k");
        terminal.wait_for("\"tiny-kept.qcow2\" will hold what the guest has written");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "not yet");
    terminal.press("\u{1}x");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.seen());
    qemu_img(&["check", "-q"], &[&dir.path().join("tiny-kept.qcow2")]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_kept_of_a_run_that_does_not_end_as_it_was_meant_to() {
    let fixture = Fixture::new();
    for (options, script, code) in [
        (&["--timeout", "20"][..], "sleep 100", 124),
        (
            &[],
            "echo x >/etc/kept; sync; echo c >/proc/sysrq-trigger; sleep 100",
            122,
        ),
    ] {
        let finished = fixture.keep("kept.qcow2", options, "box.raw", script);
        ended(&finished, code);
        assert!(finished.stderr.contains("nothing is kept"), "{finished:?}");
        assert!(!fixture.path("kept.qcow2").exists());
    }
}
