//! The appliance's initramfs, and what its agent sees on real filesystems.

mod built;
mod partitioned;
mod roots;
mod superblocks;
mod survey;
