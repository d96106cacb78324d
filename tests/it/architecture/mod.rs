//! The invariants of the design that the source text shows: which module may name which,
//! what only one place may do, how large anything may be. A test is named after the invariant that
//! it keeps. What the compiler and clippy can see they keep (`[lints]` of Cargo.toml, clippy.toml):
//! `unsafe`, printing, ending and starting processes, unwrapping, names in the file system.

mod circles;
mod glossary;
mod sizes;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, sources};

/// The modules that each module may use, one line for each module, the highest layer first. None may
/// use one in a layer above it.
#[rustfmt::skip]
const ARROWS: &[(&str, &[&str])] = &[
    ("cli",       &["serve", "commands", "launch", "text", "exit"]),
    ("serve",     &["commands", "launch", "appliance", "session", "machine", "protocol", "rpc", "archive", "text", "exit"]),
    ("commands",  &["mount", "kernels", "launch", "template", "inspect", "appliance", "session", "machine", "sandbox", "host", "image",
                    "rpc", "journal", "package", "protocol", "archive", "linux", "text", "sys", "exit"]),
    ("mount",     &["session", "protocol", "text", "sys"]),
    ("kernels",   &["launch", "appliance", "host", "package", "text", "sys"]),
    ("launch",    &["template", "appliance", "session", "machine", "sandbox", "host", "image", "block", "package", "protocol", "archive",
                    "linux", "text", "sys", "exit"]),
    ("template",  &["appliance", "session", "machine", "image", "linux", "text"]),
    ("inspect",   &["session", "journal", "protocol", "linux", "text"]),
    ("appliance", &["session", "machine", "sandbox", "host", "protocol", "linux", "sys"]),
    ("session",   &["qmp", "protocol", "text", "sys"]),
    ("machine",   &["sandbox", "host", "image", "qmp", "text", "linux", "sys", "exit"]),
    ("host",      &["sandbox", "qmp", "linux", "text", "sys"]),
    ("image",     &["linux", "text"]),
    ("agent",     &["block", "protocol", "archive", "linux", "sys"]),
    ("block",     &["protocol", "linux"]),
    ("sandbox",   &["linux", "sys"]),
    ("package",   &["archive"]),
    ("journal",   &[]),
    ("qmp",       &["text", "sys"]),
    ("rpc",       &[]),
    ("protocol",  &["text"]),
    ("archive",   &["linux", "sys"]),
    ("linux",     &["sys"]),
    ("text",      &[]),
    ("sys",       &[]),
    ("exit",      &[]),
];

/// Where clippy's or the compiler's ban of something is lifted, by the name of the lint, and why.
#[rustfmt::skip]
const LIFTED: &[(&str, &str)] = &[
    ("unsafe_code", "src/sys"),
    // A guest's console, and the guard that gives the terminal back.
    ("clippy::disallowed_methods", "src/cli/output.rs"),
    ("clippy::disallowed_methods", "src/machine/stdio.rs"),
    ("clippy::disallowed_methods", "src/machine/terminal.rs"),
    ("clippy::disallowed_methods", "src/machine/prompt.rs"),
    // The machine, and QEMU asked for doctor. (The agent's children are the guest's.)
    ("clippy::disallowed_methods", "src/machine/process.rs"),
    ("clippy::disallowed_methods", "src/qmp/probe.rs"),
    // The package manager asked for a kernel.
    ("clippy::disallowed_methods", "src/kernels/programs.rs"),
    // The loader that lists the libraries of a program.
    ("clippy::disallowed_methods", "src/host/tools.rs"),
    // fusermount3, and the command that an image is mounted for, with its keeper.
    ("clippy::disallowed_methods", "src/mount/at_directory.rs"),
    ("clippy::disallowed_methods", "src/mount/private.rs"),
    ("clippy::disallowed_methods", "src/mount/keeper.rs"),
    // Unnamed files where there is no O_TMPFILE.
    ("clippy::disallowed_methods", "src/host/scratch.rs"),
    // fork(2) and _exit(2) of its children.
    ("clippy::disallowed_methods", "src/sys"),
    // For unit tests.
    ("all", "src/lib.rs"),
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

/// The top modules of ours that the code names, each with its line.
fn modules_named(source: &Source) -> Vec<(usize, String)> {
    let paths = source.paths().into_iter();
    paths
        .filter_map(|(line, path)| Some((line, path.first()?.clone())))
        // A macro or a function of the crate's root is no module.
        .filter(|(_, name)| ARROWS.iter().any(|(module, _)| module == name))
        .collect()
}

#[test]
fn arrows_between_modules_point_one_way() {
    refuse(|source| {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == source.module()) else {
            // lib.rs lists the modules; main.rs is held by the next test.
            assert!(["lib", "main"].contains(&source.module()), "{source}: new?");
            return vec![];
        };
        modules_named(source)
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
fn agent_and_protocol_use_no_crate_of_the_launcher_and_the_protocol_is_pure() {
    let launchers = ["tokio", "clap", "anyhow", "tracing", "qapi", "tempfile"];
    refuse(|source| match source.module() {
        "agent" => source.lines_with(&launchers),
        "protocol" => {
            let mut found = source.lines_with(&launchers);
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
fn one_owner_for_qmp() {
    // The files of machine and host name commands and events; only qmp holds a session. The QEMU
    // guest agent speaks a protocol of the same form.
    let home = [
        "src/qmp",
        "src/machine/actions.rs",
        "src/machine/block_jobs.rs",
        "src/machine/checkpoint.rs",
        "src/machine/end.rs",
        "src/machine/mod.rs",
        "src/machine/node_graph.rs",
        "src/machine/snapshot.rs",
        "src/machine/vnc.rs",
        "src/host/probe.rs",
        "src/session/qga.rs",
    ];
    only_in(&home, &["qapi"]);
}

#[test]
fn what_clippy_and_the_compiler_forbid_is_allowed_in_the_listed_places_alone() {
    refuse(|source| {
        let is_lifted = |ban: &str| {
            let mut homes = LIFTED
                .iter()
                .filter(|(name, _)| [ban, "all"].contains(name));
            homes.any(|(_, home)| source.is_below(home))
        };
        let bans = BANS.iter().copied().filter(|ban| !is_lifted(ban));
        source.lines_with(&bans.collect::<Vec<_>>())
    });
    // A ban is one only where Cargo.toml states it.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for ban in BANS {
        let name = ban.trim_start_matches("clippy::");
        assert!(
            manifest.contains(&format!("\n{name} = \"deny\"\n")),
            "{ban}"
        );
    }
}

/// What `[lints]` of Cargo.toml denies to keep an invariant.
const BANS: &[&str] = &[
    "unsafe_code",
    "clippy::disallowed_macros",
    "clippy::disallowed_methods",
    "clippy::disallowed_types",
    "clippy::exit",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::todo",
    "clippy::unimplemented",
    "clippy::unwrap_used",
];

#[test]
fn one_owner_of_forks_and_of_the_guests_power() {
    // The launcher forks the guards of the terminal and of the time-out, and to make the appliance, before it has a machine.
    let forks = [
        "src/agent",
        "src/sys",
        "src/appliance/build.rs",
        "src/machine/terminal.rs",
        "src/machine/time_guard.rs",
        // In a process of its own.
        "src/mount/keeper.rs",
    ];
    only_in(&forks, &["fork_child"]);
    only_in(&["src/agent", "src/sys"], &["reboot::"]);
}

#[test]
fn qemu_dies_with_us_so_the_runtime_has_one_thread() {
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
        (1..)
            .zip(source.text.lines())
            .filter(|(_, line)| line.contains("\"filename\""))
            .filter(|(_, line)| !line.contains("\"filename\": fd_set("))
            .map(|(number, line)| format!("{source}:{number}: {line}"))
            .collect()
    });
}

#[test]
fn every_module_says_first_what_it_is_for() {
    refuse(|source| match source.text.starts_with("//! ") {
        true => vec![],
        false => vec![format!("{source} does not open with `//!`")],
    });
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
