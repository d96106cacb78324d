//! The appliance's initramfs, and what its agent sees on real filesystems.

mod built;
pub mod made;
mod partitioned;
mod superblocks;
mod survey;
