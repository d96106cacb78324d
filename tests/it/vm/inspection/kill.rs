//! Invariant "Nothing is left behind", while files are copied: out of an image by `cp`, to a
//! directory and as a stream, and into and out of a machine by `run`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::env::bivouac::{Finished, Running};
use crate::env::filesystems::filesystem;
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;
use crate::env::residue::{alive, sha256};
use crate::env::wait::{patiently, soon};

/// Ten files of so many bytes are some seconds of copying.
const FILE: usize = 4 << 20;

/// Whom the signal is for.
#[derive(Clone, Copy, Debug)]
enum Way {
    Launcher(Signal),
    Qemu,
}

impl Way {
    fn go(self, running: &Running, qemu: Pid) {
        match self {
            Self::Launcher(signal) => running.signal(signal),
            Self::Qemu => kill(qemu, Signal::SIGKILL).unwrap(),
        }
    }

    fn check(self, finished: &Finished) {
        match self {
            Self::Launcher(Signal::SIGKILL) => {
                let by = finished.status.signal();
                assert_eq!(by, Some(Signal::SIGKILL as i32), "{finished:?}");
            }
            Self::Launcher(signal) => {
                let status = 128 + signal as i32;
                assert_eq!(finished.code(), Some(status), "{finished:?}");
            }
            Self::Qemu => {
                assert_eq!(finished.code(), Some(123), "{finished:?}");
                let said = "QEMU died: killed by SIGKILL";
                assert!(finished.stderr.contains(said), "{finished:?}");
            }
        }
    }
}

/// Noise, which is no hole anywhere.
fn noise(length: usize, mut state: u32) -> Vec<u8> {
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8 | 1
    };
    (0..length).map(step).collect()
}

/// Kills one of the two, and asks the questions that every end answers. `copied` looks at what
/// was copied by then and takes it away.
fn end(ns: &MountNs, mut running: Running, way: Way, free: u64, copied: impl FnOnce()) {
    let qemu = running.qemu();
    way.go(&running, qemu);
    let finished = running.wait();
    way.check(&finished);
    soon(&format!("QEMU is gone: {way:?}"), || !alive(qemu));
    copied();
    soon(&format!("the space is given back: {way:?}"), || {
        ns.free() >= free
    });
    assert!(ns.residue().is_empty(), "{way:?}: {:?}", ns.residue());
}

/// Of the tree there is nothing but its beginning: whole files, and of at most one a part.
fn assert_beginning(copy: &Path, original: &Path) {
    let mut parts = 0;
    for entry in fs::read_dir(copy).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read(original.join(path.file_name().unwrap())).unwrap();
        let found = fs::read(&path).unwrap();
        assert!(expected.starts_with(&found), "{}", path.display());
        parts += usize::from(found.len() < expected.len());
    }
    assert!(parts <= 1, "{parts} files are not whole");
}

/// A directory whose `tree` has ten files, and a filesystem that holds it.
fn ten_files(dir: &Path) -> (PathBuf, PathBuf) {
    let root = dir.join("root");
    fs::create_dir_all(root.join("tree")).unwrap();
    for number in 1..=10 {
        fs::write(root.join(format!("tree/{number}")), noise(FILE, number)).unwrap();
    }
    let options = ["-q", "-d", root.to_str().unwrap()];
    let made = filesystem(dir, "image", 56, "mkfs.ext4", &options);
    (root, made)
}

#[test]
fn nothing_is_left_when_it_ends_while_files_are_copied_out_of_an_image() {
    let ns = MountNs::new();
    let dir = tempfile::tempdir().unwrap();
    let (root, made) = ten_files(dir.path());
    let image = ns.path("kept/image");
    fs::copy(made, &image).unwrap();
    let before = sha256(&image);
    let source = format!("{}:/tree", ns.inside("kept/image"));
    let out = ns.path("kept/out");
    let free = ns.free();
    for way in [
        Way::Launcher(Signal::SIGKILL),
        Way::Launcher(Signal::SIGTERM),
        Way::Launcher(Signal::SIGINT),
        Way::Qemu,
    ] {
        let target = ns.inside("kept/out");
        let running = ns.bivouac().args(["cp", &source, &target]).start();
        patiently("two files have come", || {
            fs::read_dir(&out).is_ok_and(|files| files.count() >= 2)
        });
        end(&ns, running, way, free, || {
            assert_beginning(&out, &root.join("tree"));
            fs::remove_dir_all(&out).unwrap();
        });
        assert_eq!(sha256(&image), before, "{way:?}");
    }
    for way in [Way::Launcher(Signal::SIGTERM), Way::Qemu] {
        let mut running = ns.bivouac().args(["cp", &source, "-"]).start();
        running.wait_for_count("ustar", 3);
        end(&ns, running, way, free, || {});
        assert_eq!(sha256(&image), before, "{way:?}, as a stream");
    }
}

#[test]
fn nothing_is_left_when_it_ends_while_files_are_copied_out_of_one_of_several_disks() {
    let ns = MountNs::new();
    let dir = tempfile::tempdir().unwrap();
    let (root, made) = ten_files(dir.path());
    let (second, first) = (ns.path("kept/second"), ns.path("kept/box.qcow2"));
    fs::copy(made, &second).unwrap();
    fs::copy(guest("box.qcow2"), &first).unwrap();
    let before = [sha256(&first), sha256(&second)];
    let source = format!("{}:/tree", ns.inside("kept/box.qcow2"));
    let out = ns.path("kept/out");
    let free = ns.free();
    for way in [
        Way::Launcher(Signal::SIGKILL),
        Way::Launcher(Signal::SIGTERM),
        Way::Qemu,
    ] {
        let running = ns
            .bivouac()
            .args(["cp", "--disk", &ns.inside("kept/second")])
            .args(["--disk", &ns.inside("kept/tiny.qcow2")])
            .args(["--root", "/dev/vdb", &source, &ns.inside("kept/out")])
            .start();
        patiently("two files have come", || {
            fs::read_dir(&out).is_ok_and(|files| files.count() >= 2)
        });
        end(&ns, running, way, free, || {
            assert_beginning(&out, &root.join("tree"));
            fs::remove_dir_all(&out).unwrap();
        });
        assert_eq!([sha256(&first), sha256(&second)], before, "{way:?}");
    }
}

#[test]
fn nothing_is_left_when_it_ends_while_files_go_into_a_machine_or_come_out() {
    let ns = MountNs::new();
    let image = ns.path("kept/box.qcow2");
    fs::copy(guest("box.qcow2"), &image).unwrap();
    let before = sha256(&image);
    let tree = ns.path("kept/tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("whole"), noise(6 * FILE, 1)).unwrap();
    let free = ns.free();
    let run = |option: &str, copy: &str| {
        let kernel = ns.inside("kept/tiny-kernel");
        let initrd = ns.inside("kept/tiny-initrd");
        ns.bivouac()
            .args(["run", "--memory", "256M", "--cpus", "1"])
            .args(["--kernel", &kernel, "--initrd", &initrd])
            .args(["--append", "console=ttyS0 quiet bivouac.do=switch"])
            .args([option, copy])
            .arg(ns.inside("kept/box.qcow2"))
            .args([
                "--",
                "dd",
                "if=/dev/zero",
                "of=/root/out",
                "bs=1M",
                "count=40",
            ])
            .start()
    };

    let running = run("--copy-in", &format!("{}:/root/in", ns.inside("kept/tree")));
    let open = format!("/proc/{}/fd", running.pid());
    patiently("the file is read", || {
        let files = fs::read_dir(&open).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|file| file.ends_with("tree/whole"))
    });
    end(&ns, running, Way::Launcher(Signal::SIGKILL), free, || {});
    assert_eq!(sha256(&image), before);

    let back = ns.path("kept/back");
    let running = run(
        "--copy-out",
        &format!("/root/out:{}", ns.inside("kept/back")),
    );
    patiently("the file comes", || back.exists());
    end(&ns, running, Way::Launcher(Signal::SIGTERM), free, || {
        let found = fs::read(&back).unwrap();
        assert!(found.len() < 40 << 20 && found.iter().all(|byte| *byte == 0));
        fs::remove_file(&back).unwrap();
    });
    assert_eq!(sha256(&image), before);
}
