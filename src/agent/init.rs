//! The agent as process 1: the kernel's file systems, words on the console, and the end.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::system::{Power, switch};

/// Type, place and options of what every program expects to find.
const MOUNTS: [(&str, &str, &str); 6] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
];

/// Links that programs expect in /dev and that the kernel does not make.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts what the kernel offers. What fails is told and does not end it: the kernel may have
/// mounted it already, or may lack it.
pub fn prepare() {
    for (kind, place, options) in MOUNTS {
        let flags = match kind {
            "devtmpfs" | "devpts" => MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            "tmpfs" => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            _ => MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        };
        // It may be there; if it can neither be made nor was there, mounting says so.
        let _ = fs::create_dir_all(place);
        match mount(Some(kind), place, Some(kind), flags, Some(options)) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => tell(&format!("mounting {place}: {errno}")),
        }
    }
    for (link, target) in LINKS {
        // A kernel or an initramfs may bring them.
        let _ = std::os::unix::fs::symlink(target, link);
    }
    // What runs here may talk to itself, and may ask for its host's name. A kernel that has no
    // network has no loopback either.
    let _ = crate::sys::loopback_up();
    let _ = nix::unistd::sethostname("bivouac");
    // Nobody typed Ctrl-Alt-Del on purpose: it powers off as everything else here does.
    let _ = nix::sys::reboot::set_cad_enabled(false);
}

/// Says something where a person may see it: as process 1 in the kernel's log, and so on the
/// console; else on standard error.
pub fn tell(text: &str) {
    let place = match std::process::id() {
        1 => "/dev/kmsg",
        _ => "/proc/self/fd/2",
    };
    let opened = OpenOptions::new().append(true).open(place);
    if let Ok(mut file) = opened {
        let level = if std::process::id() == 1 { "<3>" } else { "" };
        // In one write: each is a record of its own in the log. <3> is its level "error". There
        // is nowhere else to complain to.
        let _ = file.write_all(format!("{level}bivouac-agent: {text}\n").as_bytes());
    }
}

/// Powers off, and never returns: process 1 must not end.
pub fn power_off() -> ! {
    switch(Power::Off);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
