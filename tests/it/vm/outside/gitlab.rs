//! `examples/gitlab`: the stages of a job, called as GitLab Runner calls them. The runner here is a
//! shell script, because the machine has to end with the runner, whatever ends that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::architecture::root;
use crate::env::bivouac::children;
use crate::env::guests::{guest, tiny};
use crate::env::residue::{alive, files, sha256};
use crate::env::script::write_script;
use crate::env::wait::{output, patiently, spawn};

/// What Runner does, from its documentation: the stages in their order, with the variables of the
/// job, and those that the configuration stage returns.
const RUNNER: &str = r#"
executor=$1 work=$2
shift 2
export BUILD_FAILURE_EXIT_CODE=31 SYSTEM_FAILURE_EXIT_CODE=32 BUILD_EXIT_CODE_FILE=$work/code
export CUSTOM_ENV_CI_JOB_TIMEOUT=3600
BIVOUAC_EXECUTOR=$("$executor" config | jq -r .job_env.BIVOUAC_EXECUTOR)
export BIVOUAC_EXECUTOR
"$executor" prepare "$@"
echo "prepare $?"
for script in "$work"/scripts/*; do
    setsid "$executor" run "$script" "${script##*-}" & wait $!
    echo "${script##*-} $?"
done
"$executor" cleanup
echo "cleanup $?"
"#;

struct Job {
    dir: tempfile::TempDir,
}

impl Job {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["scripts", "tmp", "images"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for (index, (stage, script)) in scripts.iter().enumerate() {
            let path = dir.path().join(format!("scripts/{index}-{stage}"));
            fs::write(path, script).unwrap();
        }
        symlink(guest("box.raw"), dir.path().join("images/box")).unwrap();
        write_script(&dir.path().join("runner"), RUNNER);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The runner with a job whose image is called so.
    fn runner(&self, image: &str) -> Command {
        let mut command = Command::new(self.path("runner"));
        command
            .arg(root().join("examples/gitlab/bivouac-executor"))
            .arg(self.dir.path())
            .args(tiny("switch"))
            .arg(self.path("images"))
            .env("BIVOUAC", env!("CARGO_BIN_EXE_bivouac"))
            .env("BIVOUAC_ACCEL", "tcg")
            .env("CUSTOM_ENV_CI_JOB_IMAGE", image)
            .env("TMPDIR", self.path("tmp"));
        command
    }

    /// The processes that hold the machine: QEMU has the directory of overlays in its environment
    /// no more, but bivouac and the driver do.
    fn holders(&self) -> Vec<Pid> {
        let wanted = format!("TMPDIR={}", self.path("tmp").display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Ok(pid) = name.to_string_lossy().parse() else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            if variables.any(|variable| variable == wanted.as_bytes()) {
                found.push(Pid::from_raw(pid));
            }
        }
        let qemus: Vec<Pid> = found.iter().flat_map(|pid| children(*pid)).collect();
        found.extend(qemus);
        found
    }

    fn is_gone(&self, what: &str, started: &[Pid]) {
        patiently(&format!("{what}: no process is left"), || {
            !started.iter().any(|pid| alive(*pid)) && !self.holders().iter().any(|pid| alive(*pid))
        });
        let left = files(&[&self.path("tmp")]);
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}

fn said(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Starts a runner and waits until the script's first line is there.
fn started(job: &Job) -> (Child, Vec<Pid>) {
    let out = fs::File::create(job.path("out")).unwrap();
    let mut command = job.runner("box");
    command
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .stdin(Stdio::null());
    let runner = spawn(&mut command).unwrap();
    patiently("the script runs", || {
        said(&job.path("out")).contains("it runs")
    });
    let holders = job.holders();
    assert!(holders.len() >= 4, "{holders:?}");
    (runner, holders)
}

#[test]
fn a_job_of_gitlab_runs_in_one_machine_from_stage_to_stage() {
    let image = guest("box.raw");
    let before = sha256(&image);
    let job = Job::new(&[
        ("prepare_script", "echo on $(uname -s); mkdir /builds"),
        ("get_sources", "echo source >/builds/file"),
        ("build_script", "cat /builds/file; echo wrong >&2; exit 7"),
        ("after_script", "read -r line || echo no input; rm -rf /etc"),
    ]);
    let output = output(&mut job.runner("box")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text,
        "The machine is ready.\nprepare 0\non Linux\nprepare_script 0\nget_sources 0\nsource\n\
         build_script 31\nno input\nafter_script 0\ncleanup 0\n",
        "{err}"
    );
    assert_eq!(err, "wrong\n");
    assert_eq!(said(&job.path("code")), "7");
    job.is_gone("after cleanup", &[]);
    assert_eq!(sha256(&image), before);
}

#[test]
fn an_image_that_a_job_may_not_have_is_a_failure_of_the_system() {
    for image in ["", "../images/box", "nothing-there"] {
        let job = Job::new(&[("build_script", "echo")]);
        let output = output(&mut job.runner(image)).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "prepare 32\nbuild_script 32\ncleanup 0\n", "{image}");
        job.is_gone(image, &[]);
    }
}

#[test]
fn the_machine_of_a_job_ends_with_the_runner_and_a_cancelled_stage_with_its_command() {
    let scripts = [
        ("build_script", "echo it runs; exec sleep 1000"),
        ("after_script", "ps | grep -c '[s]leep 1000'"),
    ];
    let job = Job::new(&scripts);
    let (mut runner, holders) = started(&job);
    runner.kill().unwrap();
    runner.wait().unwrap();
    // The stage is a process that Runner's end does not end: its machine's does.
    job.is_gone("the runner is killed", &holders);

    let job = Job::new(&scripts);
    let (mut runner, holders) = started(&job);
    let stage = children(Pid::from_raw(runner.id() as i32));
    assert_eq!(stage.len(), 1);
    kill(stage[0], Signal::SIGTERM).unwrap();
    runner.wait().unwrap();
    let text = said(&job.path("out"));
    assert!(
        text.ends_with("build_script 31\n0\nafter_script 31\ncleanup 0\n"),
        "{text}"
    );
    job.is_gone("the stage is ended", &holders);
}
