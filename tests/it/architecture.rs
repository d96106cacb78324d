//! The invariants of the design that the source text shows: which module may name which,
//! and what only one place may do. A test is named after the invariant that it keeps.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{Source, sources};

/// What each module may name besides itself. `sys` and `exit` name nothing of ours.
const ARROWS: [(&str, &[&str]); 12] = [
    ("cli", &["commands", "exit"]),
    (
        "commands",
        &[
            "template", "guest", "machine", "host", "image", "archive", "linux", "sys", "exit",
        ],
    ),
    ("template", &["guest", "machine", "host", "image", "linux"]),
    ("agent", &["guest", "archive", "linux", "sys"]),
    (
        "guest",
        &["machine", "host", "image", "qmp", "linux", "sys", "exit"],
    ),
    ("machine", &["image", "host", "qmp", "linux", "sys", "exit"]),
    ("host", &["qmp", "linux", "sys"]),
    ("qmp", &["sys"]),
    ("image", &["linux"]),
    ("archive", &["linux", "sys"]),
    ("linux", &["sys"]),
    ("sys", &[]),
    ("exit", &[]),
];

/// Fails with every line that `found` gives for a file; each says where and what.
fn refuse(found: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources().iter().flat_map(found).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Refuses `words` in code outside the files and directories of `home`.
fn only_in(home: &[&str], words: &[&str]) {
    refuse(|source| {
        if home.iter().any(|home| source.is_below(home)) {
            return vec![];
        }
        source.lines_with(words)
    });
}

#[test]
fn arrows_between_modules_point_one_way() {
    refuse(|source| {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == source.module()) else {
            // lib.rs lists the modules; main.rs is held by the next test.
            assert!(["lib", "main"].contains(&source.module()), "{source}: new?");
            return vec![];
        };
        source
            .modules_named()
            .into_iter()
            .filter(|(_, name)| name != source.module() && !allowed.contains(&name.as_str()))
            .map(|(line, name)| format!("{source}:{line}: {} names {name}", source.module()))
            .collect()
    });
}

#[test]
fn the_table_of_arrows_has_every_module_and_no_circle() {
    let modules: BTreeSet<_> = sources().iter().map(|s| s.module().to_owned()).collect();
    let table: BTreeSet<_> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let others = ["lib", "main"].map(str::to_owned);
    assert_eq!(modules, table.into_iter().chain(others).collect());
    // Each names only what stands below it.
    for (place, (name, allowed)) in ARROWS.iter().enumerate() {
        for other in *allowed {
            let below = ARROWS[place + 1..].iter().any(|(name, _)| name == other);
            assert!(below, "{name} -> {other} points up");
        }
    }
}

#[test]
fn the_agent_meets_guest_in_wire_alone_and_wire_meets_nobody() {
    let strangers = ["tokio", "clap", "anyhow", "tracing", "qapi", "tempfile"];
    refuse(|source| match source.module() {
        "agent" => {
            let mut found = source.lines_with(&strangers);
            found.extend(source.lines_with_but(&["guest::"], "guest::wire"));
            found
        }
        _ if source.is_below("src/guest/wire") => {
            let mut found = source.lines_with(&strangers);
            // But for text, which is pure.
            let modules = source.modules_named().into_iter();
            let others = modules.filter(|(_, name)| !["guest", "text"].contains(&name.as_str()));
            found.extend(others.map(|(line, name)| format!("{source}:{line}: {name}")));
            found.extend(source.lines_with_but(&["guest::"], "guest::wire"));
            found.extend(source.lines_with(&["std::fs", "std::net", "nix"]));
            found
        }
        _ => vec![],
    });
}

#[test]
fn main_is_a_few_lines() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 15, "{main}");
}

#[test]
fn unsafe_is_below_sys_alone() {
    only_in(&["src/sys"], &["unsafe"]);
}

#[test]
fn output_is_the_only_place_that_prints_but_for_the_guests_console() {
    let home = [
        "src/cli/output.rs",
        "src/machine/stdio.rs",
        "src/machine/terminal.rs",
    ];
    let words = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "stdout()",
        "stderr()",
    ];
    only_in(&home, &words);
}

#[test]
fn one_owner_for_qmp() {
    // Outside qmp only the names of commands and events are used; client.rs holds the session.
    let home = [
        "src/qmp",
        "src/host/probe.rs",
        "src/machine/end.rs",
        "src/machine/mod.rs",
        "src/machine/snapshot.rs",
        "src/guest/qga.rs",
    ];
    only_in(&home, &["qapi"]);
}

#[test]
fn nothing_ends_the_process_but_the_end_of_main() {
    only_in(&[], &["process::exit", "process::abort", "libc::exit"]);
    // _exit(2) is for forked children, and lives with fork.
    only_in(&["src/sys"], &["_exit(", "fork()"]);
    // The launcher forks the terminal's guard, and to make the appliance, before it has a machine.
    let forks = [
        "src/agent",
        "src/sys",
        "src/guest/appliance/build.rs",
        "src/machine/terminal.rs",
    ];
    only_in(&forks, &["fork_child"]);
    only_in(&["src/agent", "src/sys"], &["reboot::"]);
}

#[test]
fn qemu_dies_with_us_so_processes_are_started_in_two_places() {
    // machine/process.rs starts a machine, qmp/probe.rs a QEMU for doctor. The agent's children
    // run in the guest.
    let home = ["src/machine/process.rs", "src/qmp/probe.rs"];
    only_in(&home, &["Command::new(", "posix_spawn"]);
}

#[test]
fn qemu_dies_with_us_so_the_runtime_has_one_thread() {
    only_in(&[], &["new_multi_thread", "spawn_blocking", "tokio::main"]);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("rt-multi-thread"));
}

#[test]
fn read_only_by_descriptor_so_image_opens_nothing_for_writing() {
    refuse(|source| match source.module() {
        "image" => source.lines_with(&[
            ".write(true)",
            ".append(true)",
            ".create(",
            "File::create",
            "fs::write",
            "O_RDWR",
            "O_WRONLY",
        ]),
        _ => vec![],
    });
}

#[test]
fn nothing_has_a_name_so_every_file_of_a_node_is_a_descriptor_set() {
    refuse(|source| {
        source
            .text_lines()
            .filter(|(_, line)| line.contains("\"filename\""))
            .filter(|(_, line)| !line.contains("\"filename\": fd_set("))
            .map(|(number, line)| format!("{source}:{number}: {line}"))
            .collect()
    });
}

#[test]
fn nothing_has_a_name_so_sockets_are_pairs_and_temporary_files_are_made_in_one_place() {
    only_in(
        &[],
        &["UnixListener", "UnixDatagram", "mkfifo", ".persist("],
    );
    only_in(&["src/host/scratch.rs"], &["tempfile::", "O_TMPFILE"]);
}

#[test]
fn errors_are_told_and_never_unwrapped() {
    refuse(|source| {
        source.lines_with(&[
            ".unwrap()",
            ".expect(",
            "panic!(",
            "todo!(",
            "unimplemented!(",
        ])
    });
}

#[test]
fn every_module_says_first_what_it_is_for() {
    refuse(|source| match source.text().starts_with("//! ") {
        true => vec![],
        false => vec![format!("{source} does not open with `//!`")],
    });
}

#[test]
fn no_file_is_over_400_lines() {
    refuse(|source| match source.text().lines().count() {
        0..=400 => vec![],
        lines => vec![format!("{source} has {lines} lines")],
    });
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
