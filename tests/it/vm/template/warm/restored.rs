//! What a restored machine is: the one that was booted, with writes of its own.

use bivouac::template::memory;
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::path::Path;

use super::{WarmFixture, distinct};
use crate::env::bivouac::children;
use crate::env::cases::Cases;
use crate::env::qemu10;

/// A case, and what does it.
type Check = (&'static str, fn(&WarmFixture));

/// Each in the machine that the first has saved.
#[test]
fn clones_are_the_machine_that_was_booted_and_leave_their_template_as_it_was() {
    let fixture = WarmFixture::new();
    let before = fixture.untouched();
    for expected in ["built", "restored"] {
        let (finished, template) = fixture.reported(&[], "echo out; echo err >&2; exit 7");
        assert_eq!(finished.code(), Some(7), "{finished:?}");
        assert_eq!(finished.stdout, "out\n");
        assert_eq!(finished.stderr, "err\n");
        assert_eq!(template, expected);
        fixture.is_clean(&[]);
    }
    let template = fixture.template();
    let digests = digests(&template);

    let checks: [Check; 7] = [
        ("its writes are its own", writes_are_a_clones_own),
        (
            "two differ at the same moment",
            distinct::at_the_same_moment,
        ),
        ("two differ by their names", distinct::by_name),
        ("its network goes on", distinct::in_the_network),
        ("a port alone is no way out", distinct::behind_a_port_alone),
        ("it is cut short at any instant", is_cut_short),
        ("it has its console", has_its_console),
    ];
    let mut cases = Cases::default();
    for (name, check) in checks {
        cases.case(name, || check(&fixture));
    }
    drop(cases);

    assert_eq!(self::digests(&template), digests);
    assert_eq!(fixture.template(), template);
    assert_eq!(fixture.names().len(), 2, "the appliance's and the image's");
    assert_eq!(fixture.untouched(), before);
    fixture.is_clean(&[]);
}

#[test]
fn an_image_is_saved_and_restored_by_qemu_10() {
    let fixture = WarmFixture::new();
    let options = qemu10::options();
    let by_10 = options.each_ref().map(String::as_str);
    let (finished, template) = fixture.reported(&by_10, "exit 7");
    assert_eq!(finished.code(), Some(7), "{finished:?}");
    assert_eq!(template, "built");
    let digests = digests(&fixture.template());
    let told = fixture.tell(&by_10, "echo changed > /etc/hostname; cat /etc/hostname");
    assert_eq!(told, "changed\n");
    assert_eq!(fixture.tell(&by_10, "cat /etc/hostname"), "box\n");
    assert_eq!(self::digests(&fixture.template()), digests);
}

/// Of what a machine could write to.
fn digests(template: &Path) -> [String; 2] {
    ["memory", "overlay-0"].map(|name| {
        let file = File::open(template.join(name)).unwrap();
        memory::digest(&file).unwrap()
    })
}

/// All of the memory and of the disk, and the next clone sees nothing of it.
fn writes_are_a_clones_own(fixture: &WarmFixture) {
    let script = "echo changed > /etc/hostname; touch /root/mine; \
         mib=$(awk '/^MemAvailable/ { print int($2 / 1024) - 30 }' /proc/meminfo); \
         mount -t tmpfs -o size=100% none /tmp; \
         dd if=/dev/zero bs=1M count=$mib 2>/dev/null | tr '\\0' x > /tmp/full; stat -c %s /tmp/full; \
         rm /tmp/full; dd if=/dev/urandom of=/root/full bs=1M 2>/dev/null; sync; \
         stat -c %s /root/full; df / | tail -1";
    let told = fixture.tell(&[], script);
    let lines: Vec<_> = told.lines().collect();
    let size = |at: usize| lines[at].parse::<u64>().unwrap();
    assert!(size(0) > 80 << 20, "{told}");
    assert!(size(1) > 20 << 20, "{told}");
    assert!(lines[2].contains("100%"), "{told}");
    let script = "cat /etc/hostname; ls /root; grep -c /tmp /proc/mounts";
    let finished = fixture.warm(&[], script).output();
    assert_eq!(finished.stdout, "box\n0\n", "{finished:?}");
    fixture.is_clean(&[]);
}

/// By a time-out, a signal, and what nobody can catch; at any instant of its way.
fn is_cut_short(fixture: &WarmFixture) {
    let finished = fixture.warm(&["--timeout", "5"], "sleep 1000").output();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    fixture.is_clean(&[]);
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut running = fixture.warm(&[], "echo here; sleep 1000").start();
        running.wait_for("here");
        let started = children(running.pid());
        assert!(!started.is_empty());
        running.signal(signal);
        let finished = running.wait();
        let expected = (signal == Signal::SIGINT).then_some(128 + 2);
        assert_eq!(finished.code(), expected, "{finished:?}");
        fixture.is_clean(&started);
    }
    for milliseconds in [5, 40, 80, 120, 200, 300, 400, 600] {
        let running = fixture.warm(&[], "sleep 1000").start();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let started = children(running.pid());
        running.signal(Signal::SIGKILL);
        running.wait();
        fixture.is_clean(&started);
    }
    assert_eq!(fixture.tell(&[], "echo whole"), "whole\n");
}

/// Without a command the console is the user's, as after a boot.
fn has_its_console(fixture: &WarmFixture) {
    let log = fixture.path("console.log");
    let options = ["--warm", "--net", "user", "--console-log"];
    let run = fixture.run(&options[..3]).arg(options[3]).arg(&log);
    let mut running = run.start();
    running.type_in("\necho hello-from-$((40 + 2))\n");
    running.wait_for("hello-from-42");
    running.type_in("poweroff -f\n");
    let finished = running.wait();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("hello-from-42"), "{text}");
    fs::remove_file(log).unwrap();
    fixture.is_clean(&[]);
    let run = fixture.run(&["--warm", "--net", "user", "--timeout", "3"]);
    let finished = run.output();
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    fixture.is_clean(&[]);
}
