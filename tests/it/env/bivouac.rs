//! A bivouac process under test. Its children are found through /proc, and whatever is still
//! alive when a test ends is killed by its process id.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::wait;

pub use super::wait::PATIENCE;

/// A command line under construction. Emulated by default: the machines that run these tests
/// need not have KVM.
pub struct Bivouac {
    command: Command,
    report: Option<TempDir>,
}

impl Bivouac {
    pub fn new() -> Self {
        Self::by(Path::new(env!("CARGO_BIN_EXE_bivouac")))
    }

    /// By another program that executes bivouac in its place.
    pub fn by(program: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .env("BIVOUAC_ACCEL", "tcg")
            // Templates are shared by all tests, and are none of the user's.
            .env(
                "XDG_CACHE_HOME",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
            )
            .env("BIVOUAC_TEMPLATES_MAX", "1G")
            .env("BIVOUAC_SANDBOX", "require")
            .env_remove("BIVOUAC_QEMU");
        Self {
            command,
            report: None,
        }
    }

    /// `bivouac run`.
    pub fn run() -> Self {
        Self::new().arg("run")
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With `--report` from here on: what it says is in [`Finished::report`].
    pub fn reporting(mut self) -> Self {
        let place = tempfile::tempdir().unwrap();
        self.command
            .arg("--report")
            .arg(place.path().join("report"));
        self.report = Some(place);
        self
    }

    /// The bare command, for a test that wants other streams.
    pub fn command(self) -> Command {
        let mut command = self.command;
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts it with pipes for all three streams.
    pub fn start(mut self) -> Running {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = wait::spawn(&mut self.command).expect("bivouac starts");
        let stdout = Stream::follow(child.stdout.take().unwrap());
        let stderr = Stream::follow(child.stderr.take().unwrap());
        Running {
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
            qemu: None,
            report: self.report,
        }
    }

    /// Runs it to its end, without input.
    pub fn output(self) -> Finished {
        let mut running = self.start();
        running.stdin = None;
        running.wait()
    }
}

/// A stream that is read to its end by a thread.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn follow(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits until all is read that comes: its writer has ended.
    fn settle(&self) {
        let reader = self.reader.as_ref();
        wait::soon("the stream's end is read", || {
            reader.is_none_or(JoinHandle::is_finished)
        });
    }

    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

/// A bivouac that runs.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    qemu: Option<Pid>,
    report: Option<TempDir>,
}

/// A bivouac that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// What `--report` says; null where it was not asked for, or was never written.
    pub report: Value,
}

impl Finished {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What the report says of the only image, or the first one, that was inspected.
    pub fn inspected(&self) -> &Value {
        let found = &self.report["looks"][0];
        assert!(found.is_object(), "{self:?}");
        found
    }
}

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The process id of its QEMU, once there is one that has been exec'ed.
    pub fn qemu(&mut self) -> Pid {
        let parent = self.pid();
        let qemu = self.qemu.unwrap_or_else(|| {
            self.wait_until("QEMU is started", || {
                children(parent).into_iter().find(|pid| {
                    let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
                    exe.is_ok_and(|exe| exe.to_string_lossy().contains("qemu"))
                })
            })
        });
        self.qemu = Some(qemu);
        qemu
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("bivouac can be signalled");
    }

    /// Signals every process of the job, QEMU before bivouac, as a batch scheduler may.
    pub fn signal_job(&self, signal: Signal) {
        for pid in children(self.pid()) {
            // One may have ended.
            let _ = kill(pid, signal);
        }
        std::thread::sleep(Duration::from_millis(20));
        self.signal(signal);
    }

    pub fn type_in(&mut self, text: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// What the guest has printed so far.
    /// What it has said on standard error by now.
    pub fn said(&self) -> String {
        self.stderr.text()
    }

    pub fn console(&self) -> String {
        self.stdout.text()
    }

    /// Waits until the guest has printed `text`.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_count(text, 1);
    }

    /// Waits until the guest has printed `text` so many times.
    pub fn wait_for_count(&mut self, text: &str, count: usize) {
        let stdout = Arc::clone(&self.stdout.bytes);
        self.wait_until(&format!("{text:?} is printed {count} times"), || {
            let printed = String::from_utf8_lossy(&stdout.lock().unwrap())
                .matches(text)
                .count();
            (printed >= count).then_some(())
        });
    }

    fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let over = self.child.try_wait().unwrap();
            // It may have come with the end; then it is there once all is read.
            if over.is_some() {
                self.stdout.settle();
                self.stderr.settle();
                if let Some(found) = look() {
                    return found;
                }
            }
            if over.is_some() || start.elapsed() > PATIENCE {
                panic!(
                    "waited in vain until {what} ({over:?})\nstdout: {}\nstderr: {}",
                    self.stdout.text(),
                    self.stderr.text()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Finished {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "bivouac does not end\nstdout: {}\nstderr: {}",
                self.stdout.text(),
                self.stderr.text()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        let report = self.report.take();
        let report = report.map_or(Value::Null, |place| {
            read_report(&place.path().join("report"))
        });
        Finished {
            status,
            stdout,
            stderr,
            report,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only where the test failed on the way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The report at `path`; null where there is none that is JSON.
fn read_report(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The children of `parent`.
pub fn children(parent: Pid) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .map(Pid::from_raw)
        .collect()
}
