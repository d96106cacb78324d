//! `bivouac kernel`: kernels of the distribution for the appliance, without root and without installing
//! them.

mod list;

use std::path::PathBuf;

use clap::ValueHint;

use crate::kernels::store::Store;
use crate::kernels::{fetch, store};
use crate::launch::{Failure, Progress};
use list::List;

/// Fetch, list or remove kernels for the appliance
///
/// For hosts without a kernel that can be read: Ubuntu's is root's, and containers have none.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Download this distribution's kernel by its package manager, as any user, and unpack it
    Fetch {
        /// Packages to download, or files of packages (.deb, .rpm) to unpack; by default the
        /// distribution's usual kernel with its modules
        #[arg(value_name = "PACKAGE", value_hint = ValueHint::FilePath)]
        packages: Vec<PathBuf>,
    },
    /// List the kernels that were fetched
    Ls {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove kernels that were fetched
    Rm {
        /// Their releases, as listed
        #[arg(value_name = "VERSION", required_unless_present = "all")]
        versions: Vec<String>,
        /// Remove all, and what a fetch that was killed has left
        #[arg(long, conflicts_with = "versions")]
        all: bool,
    },
}

#[derive(Debug)]
pub enum Report {
    List(List),
    /// For the others: one line each.
    Done(Vec<String>),
}

/// Must be called on the main thread.
pub fn run(args: &Args, progress: &dyn Progress) -> Result<Report, Failure> {
    match &args.action {
        Action::Fetch { packages } => fetch::run(packages, progress).map(Report::Done),
        Action::Ls { .. } => Ok(Report::List(List::of(&store::own_directory()?)?)),
        Action::Rm { versions, all } => {
            let store = Store::open(progress)?;
            let versions = match all {
                true => store.releases(),
                false => versions.clone(),
            };
            store.remove(&versions).map(Report::Done)
        }
    }
}
