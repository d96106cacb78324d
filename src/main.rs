//! The binary: parse, run, return the status. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bivouac::cli::main()
}
