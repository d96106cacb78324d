//! What a warm inspection costs in numbers that are the same on every machine, held against
//! SPECIFICATION.md. How long it takes is measured by `scripts/bench`.

use std::path::Path;

use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;

/// The figure of SPECIFICATION.md in the row that begins with `what`.
fn most(what: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SPECIFICATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = text
        .lines()
        .find(|line| line.starts_with(&format!("| {what} |")));
    let row = row.unwrap_or_else(|| panic!("{what}: not in SPECIFICATION.md"));
    let figure = row.split('|').nth(2).unwrap().trim();
    figure.trim_start_matches("at most ").parse().unwrap()
}

#[test]
fn a_warm_cat_costs_no_more_than_the_specification_says() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let place = format!("{}:/etc/hostname", guest("box.qcow2").display());
    let once = Bivouac::new().args(["cat", &place]).output();
    assert_eq!(once.stdout, "box\n", "{once:?}");
    let traced = Bivouac::by(Path::new("strace"))
        // A file for each process: in one for all, calls that others interrupt are in two lines.
        .args(["-ff", "-qq", "-s", "4096", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_bivouac"))
        .args(["cat", &place])
        .output();
    assert_eq!(traced.stdout, "box\n", "{traced:?}");
    let traces = std::fs::read_dir(dir.path()).unwrap();
    let traces: Vec<_> = traces
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let succeeded = |trace: &'_ &str| !trace.contains(") = -1 ");
    let calls = || {
        traces
            .iter()
            .flat_map(|trace| trace.lines())
            .filter(succeeded)
    };
    // Of the others the first call is not this one.
    let launcher = traces.iter().find(|trace| trace.starts_with("execve("));
    let launcher = launcher.unwrap();
    let of_launcher = || launcher.lines().filter(succeeded);
    let count = |word: &str| of_launcher().map(|call| call.matches(word).count()).sum();
    let programs = calls().filter(|call| call.starts_with("execve("));
    let forks = calls().filter(|call| call.starts_with("clone") && !call.contains("CLONE_THREAD"));
    let written: usize = of_launcher()
        .filter(|call| call.starts_with("pwrite64("))
        .filter_map(|call| call.rsplit_once(" = ")?.1.parse::<usize>().ok())
        .sum();
    let found: [(&str, usize); 6] = [
        ("programs started", programs.count() - 1),
        ("processes forked", forks.count()),
        ("QMP commands", count(r#"\"execute\":"#)),
        ("requests to the agent", count(r#",\"op\":{"#)),
        ("bytes written to files by the launcher", written),
        ("system calls of the launcher", of_launcher().count()),
    ];
    println!("{found:?}");
    for (what, figure) in found {
        assert!(figure > 0, "{what}: {found:?}");
        assert!(figure <= most(what), "{what}: {found:?}");
    }
}
