//! Bivouac starts a virtual machine from any disk image, lets the guest write whatever it
//! likes, and leaves no trace: the image is never changed and nothing stays behind.
//!
//! [`launch`] is for other programs, with an example. All other modules are internal: they are
//! public only where tests and benchmarks use them, and change without notice.
//!
//! # Modules, from the highest layer to the lowest
//!
//! - `cli`: parses the command line, calls a command, prints its result.
//! - `commands`: one file or folder for each command, and the arguments that several share.
//! - [`launch`]: gets a running guest: cold, warm, or as an appliance.
//! - `template`: the cache of snapshots: a machine saved when ready, restored copy-on-write.
//! - `inspect`: facts about the system in an image, read from its files.
//! - `appliance`: the small virtual machine that bivouac provides: a kernel of this host, with this
//!   program as its init.
//! - `session`: the host's end of a conversation with a guest's agent.
//! - `machine`: one QEMU process and all it holds, from plan to end.
//! - `host`: what this host can do: QEMU, KVM, the kernel, where an overlay may live.
//! - `image`: a disk image as data: formats, the qcow2 header, layers, the backing chain.
//! - `agent`: this same program inside the guest.
//! - `qmp`: the QEMU Machine Protocol.
//! - `protocol`: frames and messages between host and agent, without I/O.
//! - `archive`: tar streams, with everything that a file system holds.
//! - `linux`: files and formats that Linux defines, as several modules read them: passwd,
//!   os-release, ELF headers, memfds.
//! - `text`: text for people: escaping, sizes, times, tables, CSV.
//! - `sys`: the only `unsafe`.
//! - `exit`: every exit status, once.
//!
//! A module uses only modules in the layers below it; `tests/it/architecture/mod.rs` has the table. In
//! short: cli -> commands -> launch -> template, inspect -> appliance -> session -> machine -> host,
//! image; and agent shares only `protocol` with the host's end, and `archive`, `linux` and `sys`.
//!
//! `ARCHITECTURE.md` tells how they work together, which invariants hold everywhere, the test that
//! keeps each, and why things are as they are.

// The bans of Cargo.toml are for what is shipped; unit tests may do all of it.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::expect_used,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[doc(hidden)]
pub mod agent;
#[doc(hidden)]
pub mod appliance;
#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod exit;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod image;
#[doc(hidden)]
pub mod inspect;
pub mod launch;
#[doc(hidden)]
pub mod linux;
#[doc(hidden)]
pub mod machine;
#[doc(hidden)]
pub mod protocol;
mod qmp;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod template;
mod text;
