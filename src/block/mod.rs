//! What is on a block device: partition tables, superblocks, LVM and MD metadata, fstab.
//!
//! Everything here is pure: a device is a [`device_reader::ReadAt`], and nothing else is opened or
//! read. All input is untrusted. No allocation is sized by a number read from a device, and every
//! loop has a limit. The fuzz targets `partitions`, `superblocks`, `lvm` and `md` run all of it.

pub(crate) mod blank;
pub mod device_reader;
pub mod fstab;
mod hfs;
#[cfg(test)]
mod hostile_tests;
pub(crate) mod ids;
pub mod luks;
pub mod lvm;
pub mod mdadm_conf;
pub mod mount_unit;
mod ntfs;
pub mod partition_types;
pub mod raid;
mod signatures;
pub mod subvolumes;
pub mod superblock;
pub mod tables;
mod udf;
