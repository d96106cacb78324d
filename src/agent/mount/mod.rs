//! Finding operating systems on the machine's disks, and mounting them.
//!
//! [`sysfs`] lists the block devices, [`partitions`] makes their partitions known to the
//! kernel, [`volumes`] assembles MD arrays, [`array_names`] has the image's names for them,
//! [`logical_volumes`] maps LVM, [`encrypted`] LUKS, [`crypttab`] has the image's names for it, [`nested`] the partitions inside of volumes, [`btrfs_devices`] finds
//! what is on several devices, [`roots`] looks for operating systems, [`units`] reads what they mount,
//! and [`plan`] turns that into mounts, which [`apply`] makes.
//! [`survey`] combines these; [`ops`] serves the host's requests, [`kept`] those of a saved appliance. Everything on a disk is untrusted:
//! its bytes are parsed by [`super::block`], its files are opened by [`super::root`].

mod apply;
mod array_names;
mod block_id;
mod btrfs_devices;
mod crypttab;
mod device_mapper;
mod encrypted;
mod filesystem;
mod inventory;
pub(crate) mod kept;
mod kernel_log;
mod logical_volumes;
mod modules;
mod nested;
mod older_release;
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
mod system_tree;
mod units;
mod volumes;

pub(crate) use modules::Modules;
