//! Images as data: what `bivouac chain` accepts, refuses, and says of each.

mod accepted;
mod content;
mod corpus;
mod files;
mod headers;
mod hints;
mod hostile;
mod refused;
mod trust;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bivouac::image::Format;
use bivouac::image::qcow2::{EmptyOverlay, Geometry};

use crate::env::script::write_script;
use crate::env::wait;

/// A directory of images that goes away with the test; every command runs inside it.
pub struct Images {
    dir: tempfile::TempDir,
}

/// What the program answered, with the directory's name replaced by `[dir]`.
pub struct Answer {
    pub stdout: String,
    pub stderr: String,
    pub status: i32,
}

impl Images {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command of words, here, for at most 30 seconds.
    pub fn command<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Output {
        let mut command = Command::new("timeout");
        command.arg("30").args(words).current_dir(self.dir());
        wait::output(&mut command).expect("timeout(1) runs")
    }

    /// Runs a shell line that has to succeed, and returns its output.
    pub fn shell(&self, line: &str) -> String {
        let output = self.command(["sh", "-c", line]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn chain(&self, words: &[&str]) -> Answer {
        let program = env!("CARGO_BIN_EXE_bivouac");
        self.answer(self.command([&[program, "chain"], words].concat()))
    }

    pub fn answer(&self, output: Output) -> Answer {
        let text = |bytes: &[u8]| {
            let dir = self.dir().to_str().expect("the directory's name is UTF-8");
            String::from_utf8_lossy(bytes).replace(dir, "[dir]")
        };
        Answer {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            status: output.status.code().unwrap_or(-1),
        }
    }

    /// The answer to an image that has to be refused: status 125, and a text.
    pub fn refused(&self, words: &[&str]) -> String {
        let refused = self.refused_by_chain(words);
        self.refused_by_run(words);
        refused
    }

    /// The same of an image that `run` would unpack.
    pub fn refused_by_chain(&self, words: &[&str]) -> String {
        let Answer {
            stdout,
            stderr,
            status,
        } = self.chain(words);
        assert_eq!(status, 125, "{stdout}{stderr}");
        format!("{}{stderr}", problems_of(&stdout))
    }

    /// `run` refuses the same image, and starts nothing that could be a QEMU.
    fn refused_by_run(&self, words: &[&str]) {
        let (qemu, started) = (self.path("qemu"), self.path("qemu-was-started"));
        write_script(&qemu, &format!(": >'{}'", started.display()));
        let program = env!("CARGO_BIN_EXE_bivouac");
        let run = [
            &[
                program,
                "run",
                "--accel",
                "tcg",
                "--overlay",
                "memory",
                // So that whatever is started could leave its mark.
                "--sandbox",
                "off",
                "--qemu",
                "./qemu",
            ],
            words,
        ];
        let answer = self.answer(self.command(run.concat()));
        assert_eq!(answer.status, 125, "{}", answer.stderr);
        assert!(answer.stderr.starts_with("bivouac: "), "{}", answer.stderr);
        assert_eq!(answer.stdout, "");
        assert!(!started.exists(), "{words:?}: something was started");
        fs::remove_file(qemu).expect("the script is there");
    }

    /// The answer to an image that has to be accepted.
    pub fn accepted(&self, words: &[&str]) -> String {
        let Answer {
            stdout,
            stderr,
            status,
        } = self.chain(words);
        assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
        stdout
    }

    /// The answer as JSON.
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let answer = self.chain(&[words, &["--json"]].concat());
        serde_json::from_str(&answer.stdout).expect("the answer is JSON")
    }

    /// The hint of the first problem, with the directory's real name.
    pub fn hint(&self, words: &[&str]) -> String {
        let program = env!("CARGO_BIN_EXE_bivouac");
        let answer = self.command([&[program, "chain", "--json"], words].concat());
        let json: serde_json::Value =
            serde_json::from_slice(&answer.stdout).expect("the answer is JSON");
        let hint = json["problems"][0]["hint"].as_str();
        hint.expect("there is a problem with a hint").to_owned()
    }

    /// Writes bytes into a file, which is made if it does not exist.
    pub fn patch(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(name))
            .expect("the image opens");
        file.write_all_at(bytes, at).expect("the image is written");
    }

    /// A raw disk of a mebibyte.
    pub fn raw(&self, name: &str) {
        fs::write(self.path(name), vec![0; 1 << 20]).expect("the image is written");
    }

    /// A qcow2 image of 64 MiB, by our own writer, which `vm::image::overlay` holds against QEMU.
    pub fn qcow2(&self, name: &str) {
        let image = EmptyOverlay {
            virtual_size: 64 << 20,
            backing_file: b"",
            backing_format: Format::Raw,
            geometry: Geometry::default(),
        };
        let file = File::create(self.path(name)).expect("the image is made");
        image.write_to(&file).expect("the image is written");
    }

    /// A qcow2 image over a qcow2 image, by the name that is to be recorded.
    pub fn over(&self, backing: &str, name: &str) {
        self.recording(name, backing, Some("qcow2"));
    }

    /// A qcow2 image with a made-up backing name, which qemu-img would not record.
    pub fn recording(&self, name: &str, backing: &str, format: Option<&str>) {
        self.qcow2(name);
        let mut extensions = Vec::new();
        if let Some(format) = format {
            extensions.extend(0xE279_2ACA_u32.to_be_bytes());
            extensions.extend((format.len() as u32).to_be_bytes());
            extensions.extend(format.as_bytes());
            extensions.resize(extensions.len().next_multiple_of(8), 0);
        }
        extensions.extend([0; 8]);
        self.patch(name, 112, &extensions);
        self.patch(name, 1024, backing.as_bytes());
        self.patch(name, 8, &1024_u64.to_be_bytes());
        self.patch(name, 16, &(backing.len() as u32).to_be_bytes());
    }
}

/// The lines about problems, without the tree above them, whose sizes depend on the host.
fn problems_of(stdout: &str) -> String {
    let lines = stdout
        .lines()
        .skip_while(|line| !line.starts_with("problem:"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The refusal that a user without rights gets: root, who has all, becomes nobody for it.
pub fn refused_as_nobody(images: &Images, image: &str) -> String {
    // A copy, because the directory of the build may be closed to nobody.
    let program = images.path("bivouac");
    fs::copy(env!("CARGO_BIN_EXE_bivouac"), &program).expect("the program is copied");
    let line = format!(
        "[ $(id -u) = 0 ] && as='setpriv --reuid 65534 --regid 65534 --clear-groups'; \
         exec $as ./bivouac chain {image}"
    );
    let Answer {
        stdout,
        stderr,
        status,
    } = images.answer(images.command(["sh", "-c", &line]));
    assert_eq!(status, 125, "{stdout}{stderr}");
    format!("{}{stderr}", problems_of(&stdout))
}

/// The formats of the layers, the top first, with why each is believed.
pub fn layers(json: &serde_json::Value) -> Vec<String> {
    let layers = json["layers"].as_array().expect("there are layers");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    layers
        .iter()
        .map(|layer| format!("{} {}", word(&layer["format"]), word(&layer["evidence"])))
        .collect()
}
