//! LVM metadata: finding it on a physical volume ([`label`]), parsing it (`config`), and the
//! logical volumes ([`group`]) and device-mapper tables (`table`) that result.

pub(crate) mod config;
pub mod group;
#[cfg(test)]
mod group_tests;
pub mod label;
pub mod segment;
pub(crate) mod table;
