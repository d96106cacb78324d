//! Logical volumes without LVM's own programs: their label and metadata are read here and
//! mapped by the kernel's device-mapper.
//!
//! [`label`] finds the metadata on a physical volume, [`config`] reads its grammar, [`group`]
//! makes tables of it, [`map`] hands them to the kernel.

pub mod config;
pub mod group;
#[cfg(test)]
mod group_tests;
pub mod label;
pub mod map;
