//! `autopkgtest-virt-bivouac`: by autopkgtest itself with a package made for it, and driven as
//! autopkgtest does it with the small guest.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::architecture::root;
use crate::env::bivouac::children;
use crate::env::guests::{guest, tiny};
use crate::env::residue::{alive, files, sha256};
use crate::env::script::write_script;
use crate::env::wait::{output, patiently, spawn};

/// A program that finds bivouac and keeps its files in `dir`.
fn program(name: &Path, dir: &Path) -> Command {
    let bivouac = Path::new(env!("CARGO_BIN_EXE_bivouac")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(name);
    command
        .env("PATH", format!("{}:{path}", bivouac.display()))
        .env("BIVOUAC_ACCEL", "tcg")
        .env("BIVOUAC_TEMPLATES_MAX", "1G")
        .env("TMPDIR", dir)
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        );
    command
}

fn server_path() -> String {
    let path = root().join("examples/autopkgtest/autopkgtest-virt-bivouac");
    path.display().to_string()
}

/// The server, as autopkgtest talks to it.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    auxverb: Vec<String>,
}

impl Server {
    /// With the small guest, open.
    fn start(dir: &Path) -> Self {
        let mut command = program(Path::new(&server_path()), dir);
        command
            .args(["--memory", "256M", "--cpus", "1"])
            .arg(guest("box.raw"))
            .arg("--")
            // Without the options that the server has itself.
            .args(&tiny("switch")[..6])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command).unwrap();
        let mut server = Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            auxverb: Vec::new(),
        };
        assert_eq!(server.answer(), "");
        assert!(server.ask("open").starts_with("/tmp/autopkgtest."));
        let command = server.ask("print-execute-command");
        server.auxverb = command.split(',').map(str::to_owned).collect();
        server
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let rest = line.trim_end().strip_prefix("ok");
        let rest = rest.unwrap_or_else(|| panic!("the server says {line:?}"));
        rest.trim_start().to_owned()
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.answer()
    }

    fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new(&self.auxverb[0]);
        command.args(&self.auxverb[1..]).args(argv);
        command
    }

    /// The status and the two outputs of a command in the testbed.
    fn run(&self, argv: &[&str]) -> (Option<i32>, String, String) {
        let output = output(&mut self.command(argv)).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code();
        (code, text(output.stdout), text(output.stderr))
    }

    fn descendants(&self) -> Vec<Pid> {
        descendants(Pid::from_raw(self.child.id() as i32))
    }
}

fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = children(of);
    let further: Vec<Pid> = found.iter().flat_map(|pid| descendants(*pid)).collect();
    found.extend(further);
    found
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn autopkgtests_server_passes_commands_on_and_reverts() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut server = Server::start(dir.path());
    let capabilities = server.ask("capabilities");
    for capability in [
        "isolation-machine",
        "reboot",
        "revert",
        "revert-full-system",
        "root-on-testbed",
    ] {
        assert!(capabilities.split(' ').any(|one| one == capability));
    }

    let (status, out, err) = server.run(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((status, &*out, &*err), (Some(7), "out\n", "err\n"));
    assert_eq!(server.run(&["sh", "-c", "kill -TERM $$"]).0, Some(143));
    assert_eq!(server.run(&["sh", "-c", "exit 255"]).0, Some(253));
    assert_eq!(server.run(&["no-such-program"]).0, Some(127));

    // A file in each direction, as VirtSubproc copies them: by standard input and output.
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    fs::write(&from, &bytes).unwrap();
    server.ask(&format!("copydown {} /tmp/file", from.display()));
    server.ask(&format!("copyup /tmp/file {}", to.display()));
    assert!(fs::read(&to).unwrap() == bytes, "the file has changed");

    // A signal reaches the guest, and the end of the process is that of its command.
    for (signal, code) in [(Signal::SIGTERM, Some(9)), (Signal::SIGKILL, None)] {
        let script = "trap 'exit 9' TERM; echo $$; while :; do sleep 0.1; done";
        let mut command = server.command(&["sh", "-c", script]);
        let mut client = spawn(command.stdout(Stdio::piped())).unwrap();
        let mut pid = String::new();
        let mut lines = BufReader::new(client.stdout.take().unwrap());
        lines.read_line(&mut pid).unwrap();
        kill(Pid::from_raw(client.id() as i32), signal).unwrap();
        assert_eq!(client.wait().unwrap().code(), code);
        let is_there = format!("[ -e /proc/{} ]", pid.trim());
        patiently("the command has ended", || {
            server.run(&["sh", "-c", &is_there]).0 == Some(1)
        });
    }

    server.run(&["sh", "-c", "rm -rf /etc; echo 1 > /broken"]);
    server.ask("revert");
    let script = "[ -d /etc ] && [ ! -e /broken ]";
    assert_eq!(server.run(&["sh", "-c", script]).0, Some(0));
    server.ask("close");
    let before = server.ask("open");
    assert!(before.starts_with("/tmp/autopkgtest."));
    writeln!(server.stdin.take().unwrap(), "quit").unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn nothing_is_left_of_a_testbed_whoever_is_killed() {
    let image = guest("box.raw");
    let before = sha256(&image);
    for case in ["the caller", "the server", "the session"] {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut server = Server::start(dir.path());
        let mut command = server.command(&["sh", "-c", "echo; exec sleep 1000"]);
        let mut client = spawn(command.stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(client.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let started = server.descendants();
        assert!(started.len() >= 2, "{case}: {started:?}");
        let session = children(Pid::from_raw(server.child.id() as i32))[0];
        match case {
            // What is seen of the end of autopkgtest: that of standard input.
            "the caller" => server.stdin = None,
            "the server" => server.child.kill().unwrap(),
            _ => kill(session, Signal::SIGKILL).unwrap(),
        }
        if case == "the session" {
            let (status, _, err) = server.run(&["true"]);
            assert_eq!(status, Some(254), "{err}");
            assert!(err.contains("ended"), "{err}");
            server.stdin = None;
        }
        assert_eq!(client.wait().unwrap().code(), Some(254), "{case}");
        server.child.wait().unwrap();
        patiently(&format!("{case}: no process is left"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        let left = files(&[dir.path()]);
        assert!(left.is_empty(), "{case}: {left:?}");
    }
    assert_eq!(sha256(&image), before);
}

/// A source package that counts as built, so that nothing has to be installed.
fn package(dir: &Path) {
    let tests = dir.join("debian/tests");
    fs::create_dir_all(&tests).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.join("debian").join(name), text).unwrap();
    write("files", "");
    let control = "Source: made-up\nMaintainer: Nobody <nobody@example.org>\n\n\
         Package: made-up\nArchitecture: all\nDescription: made up\n";
    write("control", control);
    let changelog = "made-up (1) unstable; urgency=low\n\n  * Made up.\n\n \
         -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n";
    write("changelog", changelog);
    let control = "Tests: breaks\nDepends:\nRestrictions: breaks-testbed, isolation-machine, needs-root\n\n\
         Tests: plain, fails\nDepends:\n";
    write("tests/control", control);
    write_script(
        &tests.join("breaks"),
        "set -e; rm -rf /var/lib/dpkg /usr/bin/id; echo broken",
    );
    write_script(
        &tests.join("plain"),
        "set -e; id; echo made >\"$AUTOPKGTEST_ARTIFACTS/file\"; [ -e /var/lib/dpkg/status ]",
    );
    write_script(&tests.join("fails"), "echo wrong >&2; exit 3");
}

#[test]
fn autopkgtest_runs_a_package_in_a_machine_that_it_reverts() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (tmp, source, out) = (
        dir.path().join("tmp"),
        dir.path().join("made-up"),
        dir.path().join("out"),
    );
    fs::create_dir(&tmp).unwrap();
    package(&source);
    let mut command = program(Path::new("autopkgtest"), &tmp);
    command
        .args(["--no-built-binaries", "--output-dir"])
        .args([&out, &source])
        .args(["--", &server_path(), "--memory", "512M"])
        .arg(guest("debian12.qcow2"));
    let output = output(&mut command).unwrap();
    // 4 says that at least one test has failed.
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let summary = fs::read_to_string(out.join("summary")).unwrap();
    let lines: Vec<String> = summary
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "breaks PASS",
            "plain PASS",
            "fails FAIL non-zero exit status 3"
        ]
    );
    assert_eq!(
        fs::read_to_string(out.join("artifacts/file")).unwrap(),
        "made\n"
    );
    assert!(files(&[&tmp]).is_empty(), "{:?}", files(&[&tmp]));
}
