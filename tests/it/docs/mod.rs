//! What users read, held against the program: manual pages, help texts, the README's
//! examples, completions, and what a mistake in the arguments is answered with.

mod completions;
pub mod examples;
mod help;
pub mod man;
mod protocol;
mod usage;

use std::process::Command;

/// `bivouac` with nothing of the caller's surroundings that its texts show.
pub fn bivouac() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
    for name in [
        "BIVOUAC_ACCEL",
        "BIVOUAC_QEMU",
        "BIVOUAC_KERNEL",
        "BIVOUAC_TEMPLATES_MAX",
        "TMPDIR",
    ] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "100");
    command
}

/// Every command that users see, by its words: `bivouac`, `bivouac run`, and so on.
pub fn commands() -> Vec<clap::Command> {
    fn add(command: &clap::Command, found: &mut Vec<clap::Command>) {
        found.push(command.clone());
        let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        for sub in visible.filter(|sub| sub.get_name() != "help") {
            add(sub, found);
        }
    }
    let mut whole = bivouac::cli::definition();
    whole.build();
    let mut found = Vec::new();
    add(&whole, &mut found);
    found
}

/// The words behind `bivouac` that call `command`.
pub fn words(command: &clap::Command) -> Vec<String> {
    let name = command.get_bin_name().unwrap_or("bivouac");
    name.split(' ').skip(1).map(str::to_owned).collect()
}
