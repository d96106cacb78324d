//! there are, and where an overlay may live. Looks and tries out; changes nothing, and prints
//! nothing. Knows neither images nor machines.
//!
//! Each error and each negative answer has a `mend`: the command or the flag that helps.

pub mod accounts;
pub mod acl;
pub mod conversation;
pub mod distribution;
pub mod filesystem;
pub mod firmware;
pub mod kernel;
pub mod kvm;
pub mod kvm_trial;
pub mod probe;
pub mod qemu;
pub mod release;
pub mod scratch;
