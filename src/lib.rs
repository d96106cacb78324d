//! Bivouac starts a virtual machine from any disk image, lets the guest write whatever it
//! likes, and leaves no trace: the image is never changed and nothing stays behind.
//!
//! # The tour, in reading order
//!
//! - [`exit`]: every exit status, once.
//! - [`image`]: a disk image as data: formats, the qcow2 header, layers, the backing chain.
//! - [`host`]: what this host can do: QEMU, KVM, the kernel, where an overlay may live.
//! - [`machine`]: one QEMU process and all it holds, from plan to outcome.
//! - [`guest`]: the host's end of a conversation with a guest, its language, and the
//!   appliance: the guest that we bring along.
//! - [`archive`]: tar streams, with everything that a file system holds.
//! - [`agent`]: this same program inside the guest.
//! - [`commands`]: one file a command.
//! - [`cli`]: the command line; the only place that prints.
//! - [`sys`]: the only `unsafe`.
//!
//! Arrows point one way: cli -> commands -> guest -> machine -> image, host -> sys, and agent
//! meets guest in [`guest::wire`] alone. A test (`tests/it/architecture.rs`) keeps them.

pub mod agent;
pub mod archive;
pub mod cli;
pub mod commands;
pub mod exit;
pub mod guest;
pub mod host;
pub mod image;
pub mod machine;
pub mod sys;
