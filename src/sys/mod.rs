//! The only `unsafe` of the project: what nix, tokio and the standard library lack.
//!
//! Each function here is safe to call, or says what its one caller must see to; what makes it
//! so stands beside the block. Nothing here decides anything: it asks, lends or sets, and
//! returns what the kernel said.

mod agent;
mod device_mapper;
mod errno;
mod host;
mod process;
mod raid;

pub use agent::*;
pub use device_mapper::*;
pub use errno::*;
pub use host::*;
pub use process::*;
pub use raid::*;
