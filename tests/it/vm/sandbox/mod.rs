//! QEMU's sandbox, tried by a program in QEMU's place that attacks the host (`tests/breakout`), and by
//! the state of a real QEMU.

mod breakout;
pub mod kvm;
mod reader;
mod state;
mod survivor;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::env::guests::guest;

/// The user that owns nothing (by convention of every distribution).
const NOBODY: u32 = 65_534;

/// A directory of a user with bivouac, the attacker, an image and a secret.
struct Victim {
    directory: tempfile::TempDir,
    /// Root, or an ordinary user.
    is_root: bool,
}

impl Victim {
    fn new(is_root: bool) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| directory.path().join(name);
        let program = Path::new(env!("CARGO_BIN_EXE_bivouac"));
        let attacker = program.parent().unwrap().join("examples/attacker");
        fs::create_dir(path("bin")).unwrap();
        for name in ["attacker", "restored", "survivor", "survivor-restored"] {
            fs::copy(&attacker, path("bin").join(name)).unwrap();
        }
        symlink("/usr/bin/qemu-system-x86_64", path("bin/qemu")).unwrap();
        for name in ["tiny-kernel", "tiny-initrd", "box.raw"] {
            fs::copy(guest(name), path("bin").join(name)).unwrap();
        }
        fs::copy(program, path("bivouac")).unwrap();
        for name in ["secret", "truncated"] {
            fs::write(path("bin").join(name), "secret").unwrap();
        }
        fs::write(path("bin/image"), [1; 1 << 20]).unwrap();
        let owner = (!is_root).then_some(NOBODY);
        for name in ["", "bin", "bin/secret", "bin/truncated", "bin/image"] {
            let mode = if path(name).is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
            chown(path(name), owner, owner).unwrap();
        }
        Self { directory, is_root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bivouac(&self, sandbox: &str, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if !self.is_root {
            let nobody = NOBODY.to_string();
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
        }
        command
            .arg(self.path("bivouac"))
            .args(words)
            .current_dir(self.directory.path())
            .env("BIVOUAC_ACCEL", "tcg")
            .env("BIVOUAC_SANDBOX", sandbox)
            .env("TMPDIR", self.directory.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("BIVOUAC_QEMU");
        command
    }

    fn output(&self, sandbox: &str, words: &[&str]) -> Output {
        self.bivouac(sandbox, words).output().unwrap()
    }
}
