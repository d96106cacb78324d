//! A mount namespace of one's own, in which a test can have any `/dev/kvm`, any filesystem and
//! any user without changing this host. Needs root, or newuidmap (package uidmap) for a user
//! namespace with more than one user.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The user that is nobody in particular, in the namespace.
pub const STRANGER: &str = "setpriv --reuid 1234 --regid 1234 --clear-groups";

/// A directory on which the namespace has a tmpfs, with a copy of bivouac (`$BIVOUAC`) that any
/// user may run and a `/dev` of its own that starts without `kvm`.
pub struct Namespace {
    directory: tempfile::TempDir,
}

impl Namespace {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Runs a shell script in the namespace, in its directory, which `$HERE` names.
    pub fn run(&self, script: &str) -> Output {
        let here = self.directory.path();
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--map-root-user", "--map-auto"]);
        }
        command
            .args(["--mount", "--ipc", "--", "sh", "-euc"])
            .arg(format!("{PREPARE}\n{script}"))
            .env("HERE", here)
            .env("PROGRAM", env!("CARGO_BIN_EXE_bivouac"))
            .env("STRANGER", STRANGER)
            .env_remove("TMPDIR")
            .env_remove("BIVOUAC_QEMU")
            .env_remove("BIVOUAC_KERNEL")
            .stdin(Stdio::null());
        command.output().expect("unshare of util-linux runs")
    }

    /// [`Namespace::run`] for a script that prints the JSON of `doctor`: its finding about one
    /// thing, as `verdict: text` and the hint on the next line.
    pub fn finding(&self, about: &str, script: &str) -> String {
        let output = self.run(script);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                panic!(
                    "no JSON ({error}): {}",
                    String::from_utf8_lossy(&output.stderr)
                )
            });
        let findings = report["findings"].as_array().expect("findings");
        let found = findings
            .iter()
            .find(|finding| finding["about"] == about)
            .expect(about);
        let word = |key: &str| found[key].as_str().unwrap_or("-").to_owned();
        format!("{}: {}\n{}", word("verdict"), word("text"), word("hint"))
            .replace(&self.here().display().to_string(), "HERE")
    }

    /// The directory, as the namespace sees it.
    pub fn here(&self) -> &Path {
        self.directory.path()
    }
}

const PREPARE: &str = r#"
mount -t tmpfs -o size=256m,mode=755 none "$HERE"
cd "$HERE"
cp "$PROGRAM" bivouac
BIVOUAC="$HERE/bivouac"
mkdir dev
for name in null zero urandom; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mount --rbind dev /dev
"#;
