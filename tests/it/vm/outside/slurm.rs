//! `examples/slurm`, on a controller and a node of Slurm: a small array of what `scripts/try-slurm`
//! does with 200 cases.

use std::process::Command;

use crate::architecture::root;
use crate::env::guests::guest;
use crate::env::wait::output;

#[test]
fn slurm_runs_an_array_of_cases_and_cancels_one_without_a_trace() {
    let guests = guest("box.raw");
    let mut command = Command::new(root().join("scripts/try-slurm"));
    command
        .args(["10", "2"])
        .env("BIVOUAC", env!("CARGO_BIN_EXE_bivouac"))
        .env("BIVOUAC_TEST_GUESTS", guests.parent().unwrap())
        .env("BIVOUAC_ACCEL", "tcg")
        .env("BIVOUAC_TEMPLATES_MAX", "1G")
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        );
    let output = output(&mut command).unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "10 cases in 2 jobs",
        "status of the array 1: 10 tests, 1 failures, 0 errors, 0 skipped\n",
        "left are: no file, no process\n",
        "CANCELLED",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
