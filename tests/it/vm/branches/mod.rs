//! Checkpoints of machines that run, and branches of them.

mod disks;
mod distinct;
mod diverge;
mod hostile;
mod killed;
mod kvm;
mod ports;

use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::Value;

use crate::env::bivouac::{Bivouac, Finished, Running};
use crate::env::guests::{guest, tiny};

/// `examples/branches`, which does what it is told by lines.
struct Driver {
    running: Running,
    answers: usize,
}

/// The example's program; `cargo test` builds it beside bivouac.
fn program() -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_bivouac")).parent().unwrap();
    directory.join("examples/branches")
}

/// The small guest from an image that any number of machines may use.
fn small(options: &[&str]) -> Bivouac {
    let image = guest("box.raw");
    let driver = Bivouac::by(&program()).arg(image).args(tiny("switch"));
    driver.args(options)
}

/// Debian 12, which has more drivers.
fn debian(options: &[&str]) -> Bivouac {
    let driver = Bivouac::by(&program()).arg(guest("debian12.qcow2"));
    driver.args(["--memory", "512"]).args(options)
}

impl Driver {
    fn start(command: Bivouac) -> Self {
        let mut driver = Self {
            running: command.start(),
            answers: 0,
        };
        assert_eq!(driver.answer()["ready"], true);
        driver
    }

    /// Does what the line says, and returns its answer.
    fn tell(&mut self, line: &str) -> Value {
        self.running.type_in(&format!("{line}\n"));
        self.answer()
    }

    /// The same for what must succeed.
    fn done(&mut self, line: &str) -> Value {
        let answer = self.tell(line);
        assert_eq!(answer["error"], Value::Null, "{line}: {answer}");
        answer
    }

    /// The output of a script that succeeds in a machine.
    fn exec(&mut self, machine: &str, script: &str) -> String {
        let answer = self.done(&format!("exec {machine} {script}"));
        assert_eq!(answer["status"], "0", "{machine}: {script}: {answer}");
        answer["stdout"].as_str().unwrap().to_owned()
    }

    fn answer(&mut self) -> Value {
        self.answers += 1;
        self.running.wait_for_count("\n", self.answers);
        let said = self.running.console();
        let line = said.lines().nth(self.answers - 1).unwrap();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The QEMU of a machine.
    fn qemu(&mut self, machine: &str) -> Pid {
        let answer = self.done(&format!("status {machine}"));
        Pid::from_raw(answer["pid"].as_i64().unwrap() as i32)
    }

    fn end(mut self) -> Finished {
        self.running.stdin = None;
        self.running.wait()
    }
}
