//! A mount namespace of its own, in which /tmp, /var/tmp, /run and a working directory
//! are empty and private, so that whatever a run leaves there is seen, and is its own: wherever
//! this checkout lies, and whatever else runs. It holds bivouac, copies of the tiny guest and its
//! image, and a place for templates.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::geteuid;

use super::bivouac::Bivouac;
use super::guests::guest;
use super::residue;

/// Where the namespace keeps its things, as seen from inside: a directory that every system has.
const INSIDE: &str = "/mnt";

/// The namespace, held by a shell that waits for its standard input to end.
pub struct MountNs {
    holder: Child,
}

const SET_UP: &str = r#"
set -e
mount -t tmpfs -o size=1g,mode=0755 private /mnt
mkdir /mnt/work /mnt/overlays /mnt/kept /mnt/cache
touch /mnt/kept/bivouac
mount --bind "$1" /mnt/kept/bivouac
mkdir -p "$2"
mount --bind "$2" /mnt/cache
shift 2
cp --sparse=never "$@" /mnt/kept/
for directory in /tmp /var/tmp /run; do mount -t tmpfs -o size=64m,mode=1777 private "$directory"; done
echo ready
read -r _ || true
"#;

impl MountNs {
    /// One with the files of the tiny guest in it.
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !geteuid().is_root() {
            command.arg("--map-root-user");
        }
        // The program itself and the templates, which are this machine's and no copies: those
        // that are built in one namespace are valid in the next.
        command.args(["sh", "-c", SET_UP, "sh", env!("CARGO_BIN_EXE_bivouac")]);
        command.arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/cache-inside"));
        command.args(["tiny-kernel", "tiny-initrd", "tiny.qcow2"].map(guest));
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) starts");
        let mut line = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "mount namespaces are needed for this test");
        Self { holder }
    }

    /// A path of the namespace as seen from inside.
    pub fn inside(&self, name: &str) -> String {
        format!("{INSIDE}/{name}")
    }

    /// The same as seen from here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("mnt").join(name)
    }

    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
    }

    /// nsenter's arguments that lead into the namespace.
    fn entrance(&self) -> Vec<String> {
        let mut args = vec![
            "--mount".to_owned(),
            "--target".to_owned(),
            self.holder.id().to_string(),
        ];
        if !geteuid().is_root() {
            args.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        args
    }

    /// Runs a shell line in the namespace, and takes away what mount(8) notes down in /run.
    pub fn shell(&self, line: &str) {
        let line = &format!("set -e\n{line}\nrm -rf /run/mount");
        let mut command = Command::new("nsenter");
        let output = command
            .args(self.entrance())
            .args(["sh", "-c", line])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// `bivouac` with these arguments, in the namespace, its overlays and $TMPDIR there too. The
    /// process that is started becomes bivouac: nsenter executes it in its place.
    pub fn bivouac(&self) -> Bivouac {
        let mut args = self.entrance();
        args.push(format!("--wd={}", self.path("work").display()));
        args.push(self.inside("kept/bivouac"));
        Bivouac::by(Path::new("nsenter"))
            .args(args)
            .env("TMPDIR", self.inside("overlays"))
            .env("XDG_CACHE_HOME", self.inside("cache"))
    }

    /// The tiny guest in the namespace, told to do `action`, on its image.
    pub fn run_tiny(&self, action: &str) -> Bivouac {
        let append = format!("console=ttyS0 quiet bivouac.do={action}");
        self.bivouac()
            .args([
                "run", "-v", "--memory", "256M", "--cpus", "1", "--append", &append,
            ])
            .args(["--kernel", &self.inside("kept/tiny-kernel")])
            .args(["--initrd", &self.inside("kept/tiny-initrd")])
            .arg(self.inside("kept/tiny.qcow2"))
    }

    /// Every file that was not in the namespace when it was made.
    pub fn residue(&self) -> BTreeSet<PathBuf> {
        let looked =
            ["mnt/work", "mnt/overlays", "tmp", "var/tmp", "run"].map(|dir| self.root().join(dir));
        residue::files(&looked.each_ref().map(PathBuf::as_path))
    }

    /// Free bytes where the overlays are.
    pub fn free(&self) -> u64 {
        let found = nix::sys::statfs::statfs(&self.path("overlays")).unwrap();
        found.blocks_available() * found.block_size() as u64
    }

    /// The image, as seen from here.
    pub fn image(&self) -> PathBuf {
        self.path("kept/tiny.qcow2")
    }
}

impl Drop for MountNs {
    fn drop(&mut self) {
        // Its standard input ends, and so does the shell, and with it the namespace.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
