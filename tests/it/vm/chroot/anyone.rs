//! An ordinary user, without a terminal and with closed streams: every use of a machine, by a
//! process that has no rights but to read its image and to write its own directory.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::env::guests::{guest, tiny};
use crate::env::residue::{files, sha256};

/// The user that owns nothing (by convention of every distribution).
const NOBODY: u32 = 65_534;

/// The user's home: a directory that others may pass, its own copies of everything, and its own
/// places for caches and overlays.
struct TempHome(tempfile::TempDir);

impl TempHome {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("overlays")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_bivouac"), home.path("bivouac")).unwrap();
        for name in ["box.qcow2", "tiny-kernel", "tiny-initrd"] {
            fs::copy(guest(name), home.path(name)).unwrap();
        }
        if nix::unistd::geteuid().is_root() {
            for file in [".", "overlays"] {
                chown(home.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a shell line in which `$bivouac` is the program, as that user and in a session of
    /// its own, which has no terminal.
    fn shell(&self, line: &str) -> Output {
        let home = self.0.path();
        let mut command = match nix::unistd::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                let nobody = NOBODY.to_string();
                command.args(["--reuid", &nobody, "--regid", &nobody]);
                command.args(["--clear-groups", "--no-new-privs", "setsid", "--wait"]);
                command
            }
            false => {
                let mut command = Command::new("setsid");
                command.arg("--wait");
                command
            }
        };
        command
            .args(["sh", "-c", line])
            .current_dir(home)
            .env("bivouac", home.join("bivouac"))
            .env("BIVOUAC_ACCEL", "tcg")
            .env("HOME", home)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("TMPDIR", home.join("overlays"))
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .expect("setpriv and setsid (util-linux)")
    }

    /// The same, which must succeed; what it wrote.
    fn said(&self, line: &str) -> String {
        let output = self.shell(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn words(args: Vec<String>, home: &Path) -> String {
    let own = |word: String| match Path::new(&word).file_name() {
        Some(name) if word.starts_with('/') => home.join(name).display().to_string(),
        _ => word,
    };
    let words = args.into_iter().map(|word| format!("'{}' ", own(word)));
    words.collect()
}

#[test]
fn an_ordinary_user_needs_no_rights_no_terminal_and_no_open_streams() {
    let home = TempHome::new();
    let image = home.path("box.qcow2");
    let before = sha256(&image);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(home.said("id -u; id -G"), "65534\n65534\n");
    }
    assert_eq!(home.said("tty || true"), "not a tty\n");

    let listed = home.said("\"$bivouac\" ls box.qcow2:/etc/ </dev/null");
    assert_eq!(listed, "group\nhostname\ninittab\nos-release\npasswd\n");
    let name = home.said("\"$bivouac\" cat box.qcow2:/etc/hostname <&- 2>&-");
    assert_eq!(name, "box\n");
    let copied = home.said("\"$bivouac\" cp box.qcow2:/etc . <&- && cat etc/hostname");
    assert_eq!(copied, "box\n");
    // In the machine it is root all the same.
    let user = home.said("\"$bivouac\" chroot box.qcow2 -- id -u <&-");
    assert_eq!(user, "0\n");
    let options = words(tiny("switch"), home.0.path());
    let run = format!("\"$bivouac\" run {options} box.qcow2 -- sh -c");
    let output = home.shell(&format!("{run} 'cat; id -u; hostname >&2; exit 7' <&-"));
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"0\n", "{output:?}");
    // And with nothing open at all.
    assert_eq!(
        home.shell(&format!("{run} 'cat; exit 5' <&- >&- 2>&-"))
            .status
            .code(),
        Some(5)
    );

    assert_eq!(sha256(&image), before);
    assert!(files(&[&home.path("overlays")]).is_empty());
}
