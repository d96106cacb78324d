//! The only `unsafe` code of the project: what nix, tokio and the standard library lack. Every
//! function is safe to call. Nothing here decides anything: it passes a request to the kernel
//! and returns the result. Every `io::Result` here holds the system's error.

#![allow(unsafe_code, clippy::disallowed_methods)]

mod agent;
mod btrfs;
mod device_mapper;
mod errno;
mod fork;
mod host;
mod partitions;
mod process;
mod raid;
mod xattr;

pub(crate) use agent::*;
pub(crate) use btrfs::*;
pub(crate) use device_mapper::*;
pub(crate) use errno::*;
pub(crate) use fork::*;
pub(crate) use host::*;
pub(crate) use partitions::*;
pub(crate) use process::*;
pub(crate) use raid::*;
pub use xattr::*;

/// The result of a system call that returns nothing else.
fn done(result: nix::libc::c_int) -> std::io::Result<()> {
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(std::io::Error::from)
}
