//! The only `unsafe` code of the project: what nix, tokio and the standard library lack. Every
//! function is safe to call. Nothing here decides anything: it passes a request to the kernel
//! and returns the result. Every `io::Result` here holds the system's error.

#![allow(unsafe_code, clippy::disallowed_methods)]

mod agent;
mod btrfs;
mod confine;
mod descriptor;
mod extents;
mod fork;
mod host;
mod huge_pages;
mod open_answer;
mod partitions;
mod process;
mod random;
mod volumes;
mod xattr;

pub(crate) use agent::*;
pub(crate) use btrfs::*;
pub use confine::*;
pub use descriptor::*;
pub(crate) use extents::*;
pub(crate) use fork::*;
pub(crate) use host::*;
pub(crate) use huge_pages::*;
pub use open_answer::*;
pub(crate) use partitions::*;
pub(crate) use process::*;
pub use random::*;
pub(crate) use volumes::*;
pub use xattr::*;

/// The result of a system call that returns nothing else.
fn done(result: nix::libc::c_int) -> std::io::Result<()> {
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(std::io::Error::from)
}

/// The errno of `error`; `EIO` if it did not come from the kernel.
pub fn errno_of(error: impl std::borrow::Borrow<std::io::Error>) -> nix::errno::Errno {
    let errno = error.borrow().raw_os_error();
    errno.map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw)
}

/// Lowers both limits of `resource` to `limit`. Lower ones stay, because only root may raise a
/// hard limit.
fn lower_limit(resource: nix::sys::resource::Resource, limit: u64) -> std::io::Result<()> {
    use nix::sys::resource::{getrlimit, setrlimit};
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    Ok(setrlimit(resource, limit, limit)?)
}
