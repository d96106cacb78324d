//! What this host can do, with its own QEMU, KVM and kernels, and in namespaces that have others.

mod doctor;
mod kernel;
mod kvm;
mod namespace;
mod qemu;
mod sandboxes;
mod scratch;

pub use namespace::Namespace;
