//! What this host can do: where QEMU is, whether KVM runs guests, which kernel and firmware
//! there are, and where an overlay may live. Looks and tries out; changes nothing, and prints
//! nothing. Knows neither images nor machines.
//!
//! Each error and each negative answer has a `mend`: the command or the flag that helps.
//!
//! In reading order: [`qemu`] finds the emulator, and [`probe`] asks it what it can do, in a
//! [`conversation`]; [`kvm`] says whether KVM runs guests, by a [`kvm_probe`] that an [`alarm`]
//! cuts short, and explains a refusal by [`acl`] and [`accounts`]; [`scratch`] is where overlays
//! go, on a [`filesystem`]; [`kernel`] finds the appliance's, the newest [`kernel_version`];
//! [`firmware`] finds UEFI; [`install_hint`] knows how what is missing is installed.

mod accounts;
mod acl;
mod alarm;
pub(crate) mod filesystem;
pub mod firmware;
pub(crate) mod install_hint;
pub mod kernel;
mod kernel_version;
pub mod kvm;
pub mod kvm_probe;
pub mod probe;
pub mod qemu;
pub mod scratch;
