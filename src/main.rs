//! The binary: the agent inside a guest, the keeper of a mount, else the command line. Everything else
//! is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match () {
        () if bivouac::agent::is_wanted() => bivouac::agent::main(),
        () if bivouac::mount::keeper::is_wanted() => bivouac::mount::keeper::main(),
        () => bivouac::cli::main(),
    }
}
