//! LVM metadata: finding it on a physical volume ([`label`]), parsing it (`config`), and the
//! logical volumes with their device-mapper tables ([`group`]).

pub(crate) mod config;
pub mod group;
#[cfg(test)]
mod group_tests;
pub mod label;
