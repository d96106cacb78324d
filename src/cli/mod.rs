//! The command line: what was typed, dispatched to a command, and its result printed.

use crate::commands::{Failure, chain};
use clap::Parser;
use std::process::ExitCode;

/// Starts virtual machines from any disk image and leaves no trace.
#[derive(Debug, Parser)]
#[command(name = "bivouac", version)]
enum Command {
    /// Show the backing chain of an image, its problems, and what mends each
    Chain(chain::Args),
}

/// The whole program.
pub fn main() -> ExitCode {
    let Command::Chain(args) = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    match chain::run(&args) {
        Ok(report) if args.json => {
            println!(
                "{}",
                serde_json::to_string_pretty(&report).unwrap_or_default()
            );
            report.status().into()
        }
        Ok(report) => {
            println!("{report}");
            report.status().into()
        }
        Err(Failure {
            error,
            mend,
            status,
        }) => {
            eprintln!("bivouac: error: {error:#}");
            if let Some(mend) = mend {
                eprintln!("   mend: {mend}");
            }
            status.into()
        }
    }
}
