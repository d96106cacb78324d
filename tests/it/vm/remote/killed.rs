//! Whoever of a machine on a remote image is killed: no process is left, no file, and the image on the
//! server, which would let it be written to, is as it was.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::env::bivouac::{Running, children};
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;
use crate::env::residue::{alive, sha256};
use crate::env::servers::{Http, Nbd};
use crate::env::wait::soon;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Launcher(Signal),
    Qemu,
    /// The process of this host that reads the image.
    Reader,
    /// The server on the other host.
    Server(Signal),
}

/// The child of bivouac whose command line begins with this program's name.
fn child(running: &Running, name: &str) -> Pid {
    let is_it = |pid: &Pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(program).contains(name)
    };
    let found = children(running.pid()).into_iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn nothing_is_left_of_a_machine_on_a_remote_image_whoever_is_killed() {
    let ns = MountNs::new();
    let image = ns.path("kept/box.qcow2");
    fs::copy(guest("box.qcow2"), &image).unwrap();
    let before = sha256(&image);
    let free = ns.free();
    let http = Http::Ranges(image.clone()).start();
    let script = "dd if=/dev/urandom of=/root/f bs=1M count=8; sync; echo wrote; read x; \
        while :; do echo 3 >/proc/sys/vm/drop_caches; cat /dev/vda >/dev/null || exit 3; done";
    for (is_nbd, way) in [
        (true, Way::Launcher(Signal::SIGKILL)),
        (false, Way::Launcher(Signal::SIGKILL)),
        (true, Way::Launcher(Signal::SIGTERM)),
        (true, Way::Qemu),
        (false, Way::Reader),
        (true, Way::Server(Signal::SIGKILL)),
        (true, Way::Server(Signal::SIGSTOP)),
    ] {
        let nbd = Nbd::at_port(&image);
        let url = match is_nbd {
            true => nbd.url.clone(),
            false => format!("http://{http}/box.qcow2"),
        };
        let chroot = ns
            .bivouac()
            .args(["chroot", "--remote", "--remote-timeout", "2s", &url]);
        let mut running = chroot.args(["--", "sh", "-c", script]).start();
        running.wait_for("wrote");
        let parts = ["qemu-storage-daemon", "qemu-system"].map(|name| child(&running, name));
        running.type_in("\n");
        match way {
            Way::Launcher(signal) => running.signal(signal),
            Way::Qemu => kill(parts[1], Signal::SIGKILL).unwrap(),
            Way::Reader => kill(parts[0], Signal::SIGKILL).unwrap(),
            Way::Server(signal) => nbd.signal(signal),
        }
        let done = running.wait();
        if let Way::Reader | Way::Server(_) = way {
            assert_eq!(done.code(), Some(125), "{way:?}: {done:?}");
            let words = format!("\"{url}\" cannot be read any more");
            assert!(done.stderr.contains(&words), "{way:?}: {done:?}");
        }
        soon(&format!("both are gone: {way:?}"), || {
            !parts.iter().any(|pid| alive(*pid))
        });
        soon(&format!("its overlay is gone: {way:?}"), || {
            ns.free() >= free
        });
        assert!(ns.residue().is_empty(), "{way:?}: {:?}", ns.residue());
        assert_eq!(sha256(&image), before, "{way:?}");
    }
}
