//! `--display vnc`: who is let in, on both versions of QEMU.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::run_tiny;
use crate::env::bivouac::Running;
use crate::env::qemu10;
use crate::env::wait::soon;

/// Security types of RFC 6143, 7.1.2.
const NONE: u8 = 1;
const PASSWORD: u8 = 2;

fn started(display: &str, options: &[String]) -> Running {
    let run = run_tiny("hang").args(["--display", display]).args(options);
    let mut running = run.start();
    running.wait_for("tiny: ");
    running
}

/// What a server offers to a client of version 3.8.
fn security_types(stream: &mut (impl Read + Write)) -> Vec<u8> {
    let mut version = [0; 12];
    stream.read_exact(&mut version).unwrap();
    assert_eq!(&version, b"RFB 003.008\n");
    stream.write_all(&version).unwrap();
    let mut count = [0];
    stream.read_exact(&mut count).unwrap();
    let mut types = vec![0; usize::from(count[0])];
    stream.read_exact(&mut types).unwrap();
    types
}

/// Whether a password is accepted: 7.2.2.
fn is_let_in(port: u16, password: &str) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(security_types(&mut stream), [PASSWORD]);
    stream.write_all(&[PASSWORD]).unwrap();
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).unwrap();
    stream.write_all(&encrypted(&challenge, password)).unwrap();
    let mut result = [0; 4];
    stream.read_exact(&mut result).unwrap();
    result == [0; 4]
}

/// By DES, with the bits of each character of the password in reverse.
fn encrypted(challenge: &[u8], password: &str) -> Vec<u8> {
    let reversed = password.bytes().map(u8::reverse_bits);
    let key: String = reversed.map(|byte| format!("{byte:02x}")).collect();
    let mut openssl = Command::new("openssl")
        .args(["enc", "-des-ecb", "-nopad", "-provider", "legacy", "-K"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(challenge).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn vnc_lets_in_who_knows_the_password_that_was_said() {
    for (number, options) in [(91, vec![]), (92, qemu10::options().to_vec())] {
        let running = started(&format!("vnc=:{number}"), &options);
        let prefix = format!("VNC at 127.0.0.1:{number}, password ");
        let said = running.said();
        assert_eq!(said.matches(&prefix).count(), 1, "{said}");
        let password = said.split(&prefix).nth(1).unwrap();
        let password = password.lines().next().unwrap().to_owned();
        assert_eq!(password.len(), 8);
        assert!(!is_let_in(5900 + number, "password"));
        assert!(is_let_in(5900 + number, &password));
    }
}

#[test]
fn vnc_at_a_unix_socket_lets_in_its_owner_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (name, options) in [("old", vec![]), ("new", qemu10::options().to_vec())] {
        let path = dir.path().join(name);
        let running = started(&format!("vnc=unix:{}", path.display()), &options);
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert_eq!(found.uid(), geteuid().as_raw());
        let mut stream = UnixStream::connect(&path).unwrap();
        assert_eq!(security_types(&mut stream), [NONE]);
        running.signal(Signal::SIGTERM);
        running.wait();
        soon("the socket is removed", || !path.exists());
    }
    let taken = dir.path().join("taken");
    fs::write(&taken, "mine").unwrap();
    let finished = run_tiny("hang")
        .arg(format!("--display=vnc=unix:{}", taken.display()))
        .output();
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(
        finished.stderr.contains("a path where nothing is yet"),
        "{finished:?}"
    );
    assert_eq!(fs::read_to_string(taken).unwrap(), "mine");
}
