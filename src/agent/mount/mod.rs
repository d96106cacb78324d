//! Finding operating systems on the machine's disks, and mounting them.
//!
//! [`sysfs`] lists the block devices, [`partitions`] makes their partitions known to the
//! kernel, [`volumes`] assembles MD arrays and [`logical_volumes`] LVM, [`nested`] maps the
//! partitions inside of volumes, [`roots`] looks for operating systems, and [`plan`] turns their fstab into mounts, which [`apply`] makes.
//! [`survey`] combines these; [`ops`] serves the host's requests. Everything on a disk is untrusted:
//! its bytes are parsed by [`super::block`], its files are opened by [`super::root`].

mod apply;
mod btrfs_devices;
mod device_mapper;
mod filesystem;
mod inventory;
mod kernel_log;
mod logical_volumes;
mod modules;
mod nested;
pub(crate) mod ops;
mod os;
mod partitions;
mod plan;
#[cfg(test)]
mod plan_tests;
pub(crate) mod probe_mount;
mod roots;
mod survey;
pub(crate) mod survey_console;
mod sysfs;
mod volumes;

pub(crate) use filesystem::unmount;
pub(crate) use modules::Modules;
