//! Arguments that several commands share, as typed, and what they mean to [`crate::launch`]. Nothing
//! here touches the host.

pub mod agent;
pub mod command;
pub(crate) mod command_line;
pub mod copy;
pub mod image;
pub(crate) mod keep;
pub mod keys;
pub mod machine;
pub mod overlay;
pub mod prepare;
pub mod sandbox;
pub(crate) mod saved;
pub(crate) mod steps;
pub mod trust;

use crate::machine::plan::Accelerator;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::image::chain::Explicit;

/// Parses the value of `--backing`.
pub fn explicit() -> impl TypedValueParser<Value = Explicit> {
    OsStringValueParser::new().try_map(|value| Explicit::parse(&value))
}

/// The value of `--accel`: accelerators in the order to try.
pub(crate) fn parse_accel(text: &str) -> Result<Accelerator, String> {
    match text {
        "kvm:tcg" => Ok(Accelerator::KvmThenTcg),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err("not one of kvm:tcg, kvm, tcg".into()),
    }
}
