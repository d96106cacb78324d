//! The binary: the agent inside a guest, the keeper of a mount, else the command line. Everything else
//! is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    if bivouac::agent::is_wanted() {
        return bivouac::agent::main();
    }
    match bivouac::mount::keeper::is_wanted() {
        true => bivouac::mount::keeper::main(),
        false => bivouac::cli::main(),
    }
}
