//! The language of host and agent.

pub mod disks;
