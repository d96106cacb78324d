//! Kernels of distributions, for hosts that have none that can be read: downloaded by the package manager as
//! any user, unpacked, checked, and put into a directory of the user's. Installs nothing.
//!
//! `package_manager` chooses among `apt` and `dnf`, which use `programs`. `tree` is the kernel out of
//! its packages, `store` the directory of all. `fetch` does it all in a [`job`].

mod apt;
mod dnf;
pub(crate) mod fetch;
mod job;
mod package_manager;
mod programs;
pub(crate) mod store;
mod tree;
