//! Encrypted volumes, made by cryptsetup: each way in which they are encrypted, and each place for them.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::cases::Cases;
use crate::env::filesystems::{disk, empty, filesystem, run, tree};
use crate::env::mount_ns::MountNs;
use crate::env::pty::OnTerminal;
use crate::env::residue::{alive, sha256};
use crate::env::toolbox::Toolbox;
use crate::env::wait::soon;

const PASSPHRASE: &str = "correct-horse";

/// One a disk. All have the passphrase `correct-horse`, and `two` has `second` in another slot.
const LUKS: &str = r#"
printf correct-horse >/tmp/key
printf second >/tmp/second
luks() { cryptsetup -q --key-file /tmp/key "$@"; }
format() { luks luksFormat --pbkdf-force-iterations 1000 "$@"; }
fill() { luks open "$1" "$2"; tree "$2" "/dev/mapper/$2"; luks close "$2"; }
format --type luks1 --hash sha1 --cipher aes-cbc-essiv:sha256 --key-size 256 "$1"
fill "$1" essiv
format --type luks1 --hash sha256 --cipher aes-xts-plain64 --key-size 512 "$2"
fill "$2" xts
argon() { luks "$1" --pbkdf "$2" --pbkdf-memory 32768 --pbkdf-parallel 2 --pbkdf-force-iterations 4 $3 $4 $5; }
argon luksFormat argon2id --type luks2 "$3"
argon luksAddKey argon2i "$3" /tmp/second
fill "$3" argon
format --type luks2 --pbkdf pbkdf2 --hash sha512 --sector-size 4096 "$4"
fill "$4" sectors
format --type luks2 --pbkdf pbkdf2 "$5"
luks open "$5" crypt
lvm pvcreate -q -y /dev/mapper/crypt
lvm vgcreate -q inside /dev/mapper/crypt
lvm lvcreate -q -y -l 100%FREE -n root inside
tree lvmonluks /dev/inside/root
lvm vgchange -q -an
luks close crypt
lvm pvcreate -q -y "$6"
lvm vgcreate -q outside "$6"
lvm lvcreate -q -y -l 100%FREE -n home outside
format --type luks2 --pbkdf pbkdf2 --label home /dev/outside/home
fill /dev/outside/home luksonlvm
lvm vgchange -q -an
"#;

const NAMES: [&str; 6] = ["essiv", "xts", "argon", "sectors", "lvmonluks", "luksonlvm"];

fn made(dir: &Path) -> Vec<PathBuf> {
    let disks = NAMES.map(|name| empty(dir, name, 32));
    let toolbox = Toolbox::new(dir, &NAMES);
    toolbox.make(&disks.each_ref().map(|disk| disk.as_path()), LUKS);
    disks.into()
}

/// `bivouac COMMAND` with the passphrase that these words give.
pub(super) fn bivouac(command: &[&str], key: &[&str], image: &str) -> Finished {
    let keys = key.iter().flat_map(|key| ["--key", key]);
    Bivouac::new().args(command).args(keys).arg(image).output()
}

pub(super) fn hostname(image: &Path, key: &[&str]) -> Finished {
    bivouac(&["cat"], key, &format!("{}:/etc/hostname", image.display()))
}

#[test]
fn encrypted_volumes_of_each_kind_are_opened_by_their_keys_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let disks = made(dir);
    let before: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
    let key = dir.join("key");
    fs::write(&key, "correct-horse\n").unwrap();
    let key = format!("file:{}", key.display());
    let mut cases = Cases::default();
    cases.case("one key for all the disks of a machine", || {
        let mut command = Bivouac::new().args(["inspect", "--json", "--key", &key]);
        for other in &disks[1..] {
            command = command.arg("--disk").arg(other);
        }
        let done = command.arg(&disks[0]).output();
        assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        let systems = report["systems"].as_array().unwrap().iter();
        let mut found: Vec<_> = systems.map(|one| one["id"].as_str().unwrap()).collect();
        found.sort_unstable();
        let mut wanted = NAMES;
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{report:#}");
    });
    cases.case("a key in another slot, of another kind", || {
        let done = hostname(&disks[2], &["key:wrong", "/dev/vda:key:second"]);
        assert_eq!((done.code(), &*done.stdout), (Some(0), "argon"), "{done:?}");
    });
    cases.case("the key of another device is not tried", || {
        let done = hostname(&disks[3], &["/dev/vdb:key:correct-horse"]);
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("hint: --key"), "{done:?}");
    });
    cases.case("what stays closed is named", || {
        for (key, said) in [
            (
                &["key:wrong"][..],
                "it has another passphrase; --key gives it",
            ),
            (&[], "--key gives its passphrase"),
        ] {
            let image = disks[5].to_str().unwrap();
            let done = bivouac(&["inspect", "--json"], key, image);
            assert_eq!(done.code(), Some(1), "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
            let report: Value = serde_json::from_str(&done.stdout).unwrap();
            let warning = &report["warnings"][0];
            assert_eq!(warning["code"], "encrypted");
            assert_eq!(warning["device"], "/dev/mapper/outside-home");
            let done = bivouac(&["df"], key, image);
            assert_eq!(done.code(), Some(1), "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
        }
    });
    cases.case("a terminal is asked, without echo", || asks(&disks[1]));
    cases.case("a terminal has its echo back after SIGKILL", || {
        let mut terminal = on_terminal(&disks[1]);
        terminal.wait_until("it asks", is_silent);
        kill(terminal.pid(), Signal::SIGKILL).unwrap();
        terminal.wait_until("the echo is back", |terminal| !is_silent(terminal));
        terminal.wait();
    });
    cases.case("no key can be seen", || keys_are_not_seen(&disks[4], &key));
    cases.case("a session takes keys too", || sessions_take_keys(&disks[1]));
    cases.case("a volume that is mounted has its name in crypttab", || {
        named_in_crypttab(dir, &disks[1]);
    });
    cases.case("nothing is left after SIGKILL", || {
        nothing_is_left(&disks[4], "lvmonluks")
    });
    cases.case("the images are what they were", || {
        let after: Vec<_> = disks.iter().map(|disk| sha256(disk)).collect();
        assert_eq!(after, before);
    });
}

fn on_terminal(image: &Path) -> OnTerminal {
    let place = format!("{}:/etc/hostname", image.display());
    OnTerminal::start(Bivouac::new().args(["cat", &place]).command())
}

fn is_silent(terminal: &mut OnTerminal) -> bool {
    !terminal.settings().local_flags.contains(LocalFlags::ECHO)
}

fn asks(image: &Path) {
    let mut terminal = on_terminal(image);
    terminal.wait_for("Passphrase of /dev/vda");
    terminal.wait_until("there is no echo", is_silent);
    terminal.press("wrong\n");
    terminal.wait_until("it asks again", |terminal| {
        terminal.seen().matches("Passphrase of").count() == 2
    });
    terminal.press(&format!("{PASSPHRASE}\n"));
    assert!(terminal.wait().success(), "{}", terminal.seen());
    terminal.wait_for("xts");
    assert!(!terminal.seen().contains(PASSPHRASE), "{}", terminal.seen());
    assert!(!is_silent(&mut terminal));
}

/// Neither in a process nor in what is written: the passphrase, and the key of the data.
fn keys_are_not_seen(image: &Path, key: &str) {
    let volume_key = volume_key(image);
    let place = format!("{}:/etc/hostname", image.display());
    let mut running = Bivouac::new()
        .args(["tail", "-f", "-vv", "--key", key, &place])
        .reporting()
        .start();
    running.wait_for("lvmonluks");
    let qemu = running.qemu();
    let mut seen = String::new();
    for pid in [running.pid(), qemu] {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            seen += &String::from_utf8_lossy(&bytes);
        }
    }
    running.signal(Signal::SIGINT);
    let done = running.wait();
    seen += &format!("{done:?}");
    let is_all = seen.contains("bivouac: debug:") && seen.contains("verdict");
    assert!(is_all && seen.contains("qemu"), "{seen}");
    for hidden in [PASSPHRASE, &volume_key] {
        assert!(!seen.contains(hidden), "{seen}");
    }
    let templates = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    let found = || {
        let words = ["-rqaF", "-e", PASSPHRASE, "-e", &volume_key, templates];
        Command::new("grep").args(words).status().unwrap().code()
    };
    // 2 if a template of another test went away meanwhile.
    let mut results = std::iter::repeat_with(found).take(10);
    let found = results.find(|code| *code != Some(2)).flatten();
    assert_eq!(found, Some(1), "a template has a key");
}

/// The key of the data, in hexadecimal digits.
fn volume_key(image: &Path) -> String {
    let key = image.with_extension("key");
    fs::write(&key, PASSPHRASE).unwrap();
    let dump = ["luksDump", "-q", "--dump-volume-key", "--key-file"];
    let files = [key.to_str().unwrap(), image.to_str().unwrap()];
    let dump = run("cryptsetup", &[&dump[..], &files].concat());
    let (_, volume_key) = dump.split_once("MK dump:").unwrap();
    let volume_key: String = volume_key.split_whitespace().collect();
    assert_eq!(volume_key.len(), 128, "{dump}");
    volume_key
}

/// `session --inspect`, whose standard input has the requests.
fn sessions_take_keys(image: &Path) {
    let session = |key: &str, inspect: &[&str]| {
        let session = Bivouac::new().args(["session", "--key", key]).args(inspect);
        session.arg(image)
    };
    let mut session_of = session("/dev/vda:key:correct-horse", &["--inspect"]).start();
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"read","params":{"path":"/etc/hostname"}}"#;
    let input = session_of.stdin.as_mut().unwrap();
    writeln!(input, "{request}").unwrap();
    session_of.wait_for(r#""data":"xts""#);
    session_of.stdin = None;
    let done = session_of.wait();
    assert_eq!(done.code(), Some(0), "{done:?}");
    for (key, inspect, said) in [
        (
            "key:wrong",
            &["--inspect"][..],
            "has another passphrase; --key gives it",
        ),
        ("fd:0", &["--inspect"], "standard input has the requests"),
        ("key:x", &[], "hint: --inspect"),
    ] {
        let done = session(key, inspect).start().wait();
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains(said), "{done:?}");
    }
}

/// A system on one partition mounts an encrypted one by the name that its crypttab has.
fn named_in_crypttab(dir: &Path, encrypted: &Path) {
    let uuid = run("cryptsetup", &["luksUUID", encrypted.to_str().unwrap()]);
    let crypttab = format!("private UUID={} none luks\n", uuid.trim());
    let files = tree(
        dir,
        "outer-files",
        &[
            ("etc/os-release", "ID=outer\n"),
            ("etc/fstab", "/dev/mapper/private /srv ext4 defaults 0 2\n"),
            ("etc/crypttab", &crypttab),
            ("srv/empty", ""),
        ],
    );
    let options = ["-q", "-d", files.to_str().unwrap()];
    let root = filesystem(dir, "outer", 8, "mkfs.ext4", &options);
    let script = "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=32MiB\n";
    let image = disk(dir, "parts", 42, script, &[(1, &root), (9, encrypted)]);
    let place = format!("{}:/srv/etc/hostname", image.display());
    let root = ["cat", "--root", "/dev/vda1"];
    let done = bivouac(&root, &["/dev/sda2:key:correct-horse"], &place);
    assert_eq!((done.code(), &*done.stdout), (Some(0), "xts"), "{done:?}");
}

pub(super) fn nothing_is_left(image: &Path, hostname: &str) {
    let ns = MountNs::new();
    fs::copy(image, ns.path("kept/image")).unwrap();
    let place = format!("{}:/etc/hostname", ns.inside("kept/image"));
    let before = (sha256(&ns.path("kept/image")), ns.free());
    let key = format!("key:{PASSPHRASE}");
    let follow = ["tail", "-f", "--key", &key, &place];
    let mut running = ns.bivouac().args(follow).start();
    running.wait_for(hostname);
    let qemu = running.qemu();
    running.signal(Signal::SIGKILL);
    let done = running.wait();
    assert_eq!(done.status.signal(), Some(9), "{done:?}");
    soon("QEMU is gone", || !alive(qemu));
    soon("the space is given back", || ns.free() >= before.1);
    assert!(ns.residue().is_empty(), "{:?}", ns.residue());
    assert_eq!(sha256(&ns.path("kept/image")), before.0);
}
