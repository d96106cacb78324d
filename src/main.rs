//! The binary: the agent inside a guest, else the command line. Everything else is in the
//! library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match bivouac::agent::is_wanted() {
        true => bivouac::agent::main(),
        false => bivouac::cli::main(),
    }
}
