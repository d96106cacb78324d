//! Arguments that several commands share, as typed, and what they mean to [`crate::launch`]. Nothing
//! here touches the host.

pub mod agent;
pub mod command;
pub mod image;
pub mod machine;
pub mod overlay;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::image::chain::Stated;

/// Parses the value of `--backing`.
pub fn stated() -> impl TypedValueParser<Value = Stated> {
    OsStringValueParser::new().try_map(|value| Stated::parse(&value))
}
