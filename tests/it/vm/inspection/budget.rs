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
        .args(["-f", "-qq", "-s", "4096", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_bivouac"))
        .args(["cat", &place])
        .output();
    assert_eq!(traced.stdout, "box\n", "{traced:?}");
    let trace = std::fs::read_to_string(trace).unwrap();

    let calls: Vec<_> = trace
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(process, call)| (process, call.trim_start()))
        .filter(|(_, call)| !call.starts_with("<...") && !call.contains(") = -1 "))
        .collect();
    let launcher = calls[0].0;
    let of_launcher = || calls.iter().filter(|(process, _)| *process == launcher);
    let count = |word: &str| {
        of_launcher()
            .map(|(_, call)| call.matches(word).count())
            .sum()
    };
    let programs = calls.iter().filter(|(_, call)| call.starts_with("execve("));
    let forks = calls
        .iter()
        .filter(|(_, call)| call.starts_with("clone") && !call.contains("CLONE_THREAD"));
    let written: usize = of_launcher()
        .filter(|(_, call)| call.starts_with("pwrite64("))
        .filter_map(|(_, call)| call.rsplit_once(" = ")?.1.parse::<usize>().ok())
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
