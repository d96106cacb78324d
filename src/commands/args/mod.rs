//! Arguments that several commands share, as typed, and what they mean to [`crate::launch`]. Nothing
//! here touches the host.

pub mod agent;
pub mod command;
pub mod image;
pub mod machine;
pub mod overlay;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::image::chain::Explicit;

/// Parses the value of `--backing`.
pub fn explicit() -> impl TypedValueParser<Value = Explicit> {
    OsStringValueParser::new().try_map(|value| Explicit::parse(&value))
}
