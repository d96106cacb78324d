//! The command line: what was typed, the command that serves it, and its result printed.

mod output;
mod status_line;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::inspection::reported;
use crate::commands::{
    cat, chain, chroot, cp, df, diff, doctor, inspect, kernel, log, ls, mount, run, tail, template,
    test,
};
use crate::exit::Status;
use crate::launch::{Failure, Progress};
use crate::serve;
use output::Output;

/// Start stateless virtual machines from any disk image and leave no trace
#[derive(Debug, Parser)]
#[command(
    name = "bivouac",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 the guest powered off, 122 the guest crashed, 123 QEMU died, 124 timed out,\n\
                  125 bivouac failed, 128+N ended by signal N. See bivouac(1)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print more messages; if given twice, print everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print only errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Session(Box<serve::Args>),
    Mcp(Box<serve::mcp::Args>),
    Test(Box<test::Args>),
    Chroot(Box<chroot::Args>),
    Ls(Box<ls::Args>),
    Cat(Box<cat::Args>),
    Cp(Box<cp::Args>),
    Df(Box<df::Args>),
    Diff(Box<diff::Args>),
    Inspect(Box<inspect::Args>),
    Mount(Box<mount::Args>),
    Tail(Box<tail::Args>),
    Log(Box<log::Args>),
    Chain(chain::Args),
    Doctor(doctor::Args),
    Kernel(kernel::Args),
    Template(template::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The whole program: parses, runs, prints, and gives the exit status.
pub fn main() -> ExitCode {
    main_with(std::env::args_os()).into()
}

fn main_with(args: impl IntoIterator<Item = OsString>) -> Status {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let output = Output::new(cli.verbose, cli.quiet);
    match dispatch(cli.command, &output) {
        Ok(status) => status,
        Err(failure) => {
            output.failure(&failure);
            failure.status
        }
    }
}

fn dispatch(command: Command, output: &Output) -> Result<Status, Failure> {
    match command {
        Command::Run(args) => {
            let outcome = run::run(&args, output)?;
            output.outcome(&outcome)?;
            Ok(outcome.status())
        }
        Command::Session(args) => serve::run(&args, output),
        Command::Mcp(args) => serve::mcp::run(&args, output),
        Command::Test(args) => test::run(&args, output),
        Command::Chroot(args) => reported("chroot", &args.options, output, |inspector| {
            chroot::run(&args, inspector)
        }),
        Command::Ls(args) => reported("ls", &args.options, output, |inspector| {
            ls::run(&args, inspector)
        }),
        Command::Cat(args) => reported("cat", &args.options, output, |inspector| {
            cat::run(&args, inspector)
        }),
        Command::Cp(args) => reported("cp", &args.options, output, |inspector| {
            cp::run(&args, inspector)
        }),
        Command::Df(args) => reported("df", &args.options, output, |inspector| {
            df::run(&args, inspector)
        }),
        Command::Diff(args) => reported("diff", &args.options, output, |inspector| {
            diff::run(&args, inspector)
        }),
        Command::Tail(args) => reported("tail", &args.options, output, |inspector| {
            tail::run(&args, inspector)
        }),
        Command::Log(args) => reported("log", &args.options, output, |inspector| {
            log::run(&args, inspector)
        }),
        Command::Inspect(args) => reported("inspect", &args.options, output, |inspector| {
            inspect::run(&args, inspector)
        }),
        Command::Mount(args) => reported("mount", &args.options, output, |inspector| {
            mount::run(&args, inspector)
        }),
        Command::Chain(args) => {
            let report = chain::run(&args)?;
            output.result(&report, args.json)?;
            Ok(report.status())
        }
        Command::Doctor(args) => {
            let report = doctor::run(&args)?;
            output.result(&report, args.json)?;
            Ok(report.status())
        }
        Command::Kernel(args) => {
            match kernel::run(&args, output)? {
                kernel::Report::List(list) => {
                    let json = matches!(args.action, kernel::Action::Ls { json: true });
                    output.result(&list, json)?;
                }
                kernel::Report::Done(lines) => lines.iter().for_each(|line| output.message(line)),
            }
            Ok(Status::Success)
        }
        Command::Template(args) => {
            match template::run(&args, output)? {
                template::Report::List(list) => {
                    let json = matches!(args.action, template::Action::Ls { json: true });
                    output.result(&list, json)?;
                }
                template::Report::Done(lines) => lines.iter().for_each(|line| output.message(line)),
            }
            Ok(Status::Success)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bivouac", &mut script);
            output.bytes(&script)?;
            Ok(Status::Success)
        }
    }
}

/// The command line's definition, for the test that holds the manual pages against it.
pub fn definition() -> clap::Command {
    Cli::command()
}
