//! What is on a block device: partition tables, superblocks, LVM and MD metadata, fstab.
//!
//! Everything here is pure: a device is a [`device_reader::ReadAt`], and nothing else is opened or
//! read. All input is untrusted. No allocation is sized by a number read from a device, and every
//! loop has a limit. The fuzz targets `partitions`, `superblocks`, `lvm` and `md` run all of it.

pub mod device_reader;
pub mod fstab;
mod hfs;
#[cfg(test)]
mod hostile_tests;
pub(crate) mod ids;
pub mod lvm;
mod ntfs;
pub mod raid;
mod signatures;
pub mod superblock;
pub mod tables;
mod udf;
