//! The only `unsafe` of the project: what nix, tokio and the standard library lack.
//!
//! Each function here is safe to call, or says what its one caller must see to; what makes it
//! so stands beside the block. Nothing here decides anything: it asks, lends or sets, and
//! returns what the kernel said.

#![allow(unsafe_code, clippy::disallowed_methods)]

mod agent;
mod device_mapper;
mod host;
mod process;
mod raid;

pub use agent::*;
pub use device_mapper::*;
pub use host::*;
pub use process::*;
pub use raid::*;
