//! What this host can do: where QEMU is, whether KVM runs guests, which kernels and firmware there are,
//! and where overlays may be stored. Looks and tries out; changes nothing and prints nothing. Knows
//! neither images nor machines.
//!
//! [`qemu`] finds the emulator, and [`probe`] asks it what it can do. [`kvm`] determines whether KVM
//! runs guests: [`kvm_probe`] measures one, limited by an `alarm`, and `acl` explains a refusal.
//! [`memory_limit`] is that of a container. [`scratch`] is the directory for overlays, on a `filesystem`. [`kernel`] finds a kernel for the
//! appliance, also one of [`fetched_kernels`]. [`firmware`] finds UEFI. [`new_file`] makes a file that has no name until it is complete. `programs` finds programs, and [`tools`] are those that the appliance can borrow. `install_hint` knows the distribution's install commands.

mod acl;
mod alarm;
pub mod fetched_kernels;
pub(crate) mod filesystem;
pub mod firmware;
pub(crate) mod install_hint;
pub mod kernel;
pub mod kvm;
pub mod kvm_probe;
pub(crate) mod memory_limit;
pub(crate) mod new_file;
pub mod passt;
pub mod probe;
pub(crate) mod programs;
pub mod qemu;
pub mod scratch;
pub mod tools;
