//! The appliance's initramfs, and what its agent sees on real filesystems.

mod built;
mod kinds;
mod nested;
mod partitioned;
mod roots;
mod signatures;
mod superblocks;
mod survey;
mod tables;
mod tables_made;
mod unusual;
