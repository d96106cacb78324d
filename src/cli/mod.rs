//! The command line: what was typed, dispatched to a command, and its result printed.

use std::process::ExitCode;

use clap::Parser;

use crate::commands::doctor;
use crate::exit::Status;

#[derive(Parser)]
#[command(version, about)]
enum Command {
    /// What this host can do, what is in the way, and how to mend it
    Doctor(doctor::Args),
}

/// The whole program.
pub fn main() -> ExitCode {
    let Command::Doctor(args) = Command::parse();
    match doctor::run(&args) {
        Ok(report) if args.json => {
            println!(
                "{}",
                serde_json::to_string_pretty(&report).unwrap_or_default()
            );
            report.status().into()
        }
        Ok(report) => {
            print!("{report}");
            report.status().into()
        }
        Err(failure) => {
            eprintln!("bivouac: {:#}", failure.error);
            Status::Failed.into()
        }
    }
}
