//! `--net internet`: the guest reaches what is outside of the host, and neither the host's loopback nor
//! link-local addresses; passt ends with bivouac.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::run_tiny;
use crate::env::bivouac::{Bivouac, children};
use crate::env::guests::{guest, tiny};
use crate::env::residue::alive;
use crate::env::script::write_script;
use crate::env::wait::soon;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// From here on this thread, and what it starts, is in a network of its own.
fn leave_network() {
    // SAFETY: unshare(2) takes a number.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
}

/// The same with a default route, and two more addresses of the host.
fn enter_network() {
    leave_network();
    for words in [
        "link set lo up",
        "tuntap add tap0 mode tap",
        "addr add 203.0.113.2/24 dev tap0",
        "link set tap0 up",
        "addr add 198.51.100.7/32 dev lo",
        "addr add 169.254.169.254/32 dev lo",
        "route add default via 203.0.113.1 dev tap0",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.unwrap().success(), "ip {words}");
    }
}

fn listen(address: Ipv4Addr) -> (TcpListener, u16) {
    let server = TcpListener::bind((address, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

/// The guest uses the loopback's addresses as any other.
fn script(outside: u16, loopback: u16, metadata: u16) -> String {
    format!(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; \
         ip link set eth0 up; busybox udhcpc -n -q -i eth0 -s /bin/true 2>&1 | grep -o 'lease of .* obtained'; \
         ip addr add 203.0.113.2/24 dev eth0; ip route add default via 203.0.113.1; \
         ip route add 127.0.0.0/8 via 203.0.113.1; ip route get 127.0.0.1 | head -1; \
         for to in 127.0.0.1:{loopback} 203.0.113.1:{loopback} {METADATA}:{metadata} {OUTSIDE}:{outside}; do \
         timeout 5 wget -q -O - http://$to/; done"
    )
}

#[test]
fn the_guest_reaches_the_outside_and_neither_loopback_nor_link_local_addresses() {
    enter_network();
    let (outside, port) = listen(OUTSIDE);
    let (loopback, loopback_port) = listen(Ipv4Addr::LOCALHOST);
    let (metadata, metadata_port) = listen(METADATA);
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = outside.accept().unwrap();
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom the outside\n")
            .unwrap();
    });
    let run = Bivouac::run()
        .args(tiny("switch"))
        .args(["--net", "internet"]);
    let script = script(port, loopback_port, metadata_port);
    let run = run.arg(guest("box.raw")).args(["--", "sh", "-c", &script]);
    let finished = run.output();
    let told = "lease of 203.0.113.2 obtained\n\
        127.0.0.1 via 203.0.113.1 dev eth0  src 203.0.113.2 \nfrom the outside\n";
    assert_eq!(finished.stdout, told, "{finished:?}");
    serving.join().unwrap();
    for server in [loopback, metadata] {
        server.set_nonblocking(true).unwrap();
        let nobody = server.accept().unwrap_err().kind();
        assert_eq!(nobody, ErrorKind::WouldBlock);
    }
}

fn is_passt(pid: &Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("passt"))
}

#[test]
fn passt_ends_with_bivouac_however_that_ends() {
    enter_network();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut running = run_tiny("hang").args(["--net", "internet"]).start();
        let qemu = running.qemu();
        let passt = children(running.pid()).into_iter().find(is_passt);
        let passt = passt.expect("passt is a child");
        running.signal(signal);
        running.wait();
        soon("both are gone", || !alive(qemu) && !alive(passt));
    }
}

#[test]
fn without_passt_or_what_it_needs_the_network_is_refused_with_the_reason() {
    leave_network();
    let run = || {
        run_tiny("poweroff").args(["--net", "internet", "--qemu", "/usr/bin/qemu-system-x86_64"])
    };
    let finished = run().env("PATH", "/none").output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert_snapshot!(finished.stderr, @r"
    bivouac: error: --net internet needs passt, which was not found: no passt in PATH
      hint: `sudo apt-get install passt`; --net user needs no program, but reaches this host
    ");
    let finished = run().output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let said = &finished.stderr;
    assert!(said.contains("did not start: exit status 1\n"), "{said}");
    assert!(said.contains("hint: passt needs user namespaces"), "{said}");
}

/// As where the administrator has forbidden them.
#[test]
fn without_user_namespaces_the_network_is_refused() {
    enter_network();
    let dir = tempfile::tempdir().unwrap();
    let script: &Path = &dir.path().join("strace-it");
    let inject = "strace -f -qq -o /dev/null -e inject=unshare:error=EPERM";
    write_script(script, &format!("exec {inject} \"$@\""));
    let run = Bivouac::by(script).arg(env!("CARGO_BIN_EXE_bivouac"));
    let run = run
        .args(["run", "--net", "internet"])
        .args(tiny("poweroff"));
    let finished = run.output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    let said = &finished.stderr;
    assert!(said.contains("hint: passt needs user namespaces"), "{said}");
}
