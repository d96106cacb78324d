//! What this host can do, against real devices, directories and programs.

mod firmware;
mod kernel;
mod kvm;
mod namespace;
mod qemu;
mod scratch;

pub use crate::env::script::write_script;
pub use namespace::Namespace;
