//! What this host can do: the rules, in directories made for the purpose.

mod firmware;
mod kernel;
mod kvm_check;
pub mod qemu;
mod scratch;

pub use crate::env::script::write_script;
