//! What this host can do, against real devices, directories and programs.

mod firmware;
mod kernel;
mod kvm;
mod namespace;
mod qemu;
mod scratch;

pub use namespace::Namespace;
