//! The command line: what was typed, dispatched to a command, and its result printed.

use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
