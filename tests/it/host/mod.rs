//! What this host can do, against real devices, directories and programs.

mod firmware;
mod kernel;
mod kvm;
mod namespace;
mod qemu;
mod scratch;
mod script;

pub use namespace::Namespace;
pub use script::write_script;
