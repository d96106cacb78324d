//! Bivouac starts a virtual machine from any disk image, lets the guest write whatever it
//! likes, and leaves no trace: the image is never changed and nothing stays behind.
//!
//! [`launch`] is for other programs, with an example. All other modules are internal: they are
//! public only where tests and benchmarks use them, and change without notice.
//!
//! # The tour, from the highest floor to the lowest
//!
//! - `cli`: the command line; the only place that prints.
//! - `commands`: one file or folder a command, and the arguments that several share.
//! - [`launch`]: gets a running guest: cold, warm, or as an appliance.
//! - `template`: the cache of snapshots: a machine saved when ready, restored copy-on-write.
//! - `inspect`: facts about the system in an image, read from its files.
//! - `appliance`: the guest that we bring along: a kernel of this host, with this program as its init.
//! - `session`: the host's end of a conversation with a guest's agent.
//! - `machine`: one QEMU process and all it holds, from plan to end.
//! - `host`: what this host can do: QEMU, KVM, the kernel, where an overlay may live.
//! - `image`: a disk image as data: formats, the qcow2 header, layers, the backing chain.
//! - `agent`: this same program inside the guest.
//! - `qmp`: QEMU's protocol of control.
//! - `protocol`: the language of host and agent, without I/O.
//! - `archive`: tar streams, with everything that a file system holds.
//! - `linux`: files and formats that Linux defines, as several modules read them: passwd,
//!   os-release, ELF headers, memfds.
//! - `text`: text for people: escaping, sizes, times, tables, CSV.
//! - `sys`: the only `unsafe`.
//! - `exit`: every exit status, once.
//!
//! A module names only what stands below it; `tests/it/architecture/mod.rs` lists the arrows. In
//! short: cli -> commands -> launch -> template, inspect -> appliance -> session -> machine -> host,
//! image; and agent shares only `protocol` with the host's end, and `archive`, `linux` and `sys`.
//!
//! # Invariants
//!
//! A test or a lint keeps each of these (`tests/it/architecture`, `args`, `vm/run`).
//!
//! - **Read-only by descriptor.** Each layer is opened once, `O_RDONLY`, by us, and reaches QEMU
//!   as a descriptor in a set of its own; its nodes are `read-only` with `locking` off. QEMU
//!   never gets a layer's path to open. Once QEMU has opened them all, each header is read
//!   again: it must still be the one that was checked.
//! - **Nothing has a name.** Overlays are `O_TMPFILE`, or unlinked before their first byte, or
//!   memory; UEFI's variables are one more overlay; channels are socket pairs.
//! - **QEMU dies with us.** PR_SET_PDEATHSIG is SIGKILL, set in the child before exec, the parent
//!   checked after it, spawned from the main thread of a current-thread runtime. No core file.
//! - **The terminal is given back.** A guard process waits for our end and restores it even
//!   when we were killed; it never outlives us by more than that.
//! - **Formats are explicit, never guessed by QEMU.** Every node names its driver, and `backing` is
//!   explicit down to the base's null.
//! - **The plan is data.** `machine::args` touches no host.
//! - **One owner for QMP**, and one for the console: a task each.
//! - **Errors carry their hint**, and a start failure carries QEMU's own words.
//!
//! # Where this departs from the design, and why
//!
//! - `qapi` gives the types of QMP, not the session: qapi 0.15's ends at the first event that
//!   it does not know, such as one of a newer QEMU (`qmp`).
//! - QEMU is ended by SIGKILL at once, not by `quit` first: a throwaway machine has nothing to
//!   save, and a stopped QEMU ignores gentler signals (`machine::process`).
//! - Each command's arguments are in that command's file, or in `commands/args` if several share them;
//!   the `cli` composes them and prints the results.
//! - A saved appliance has virtio-blk disks without a byte; a restored one has an image's disks in
//!   their place, and is told that they have grown: no bus is searched after a restore, so this is a
//!   hundred times as fast as plugging a disk in (`launch/appliance.rs`).
//! - A template that this process has just built is restored from its memory, not from the store:
//!   what the store holds is checked by a digest before the processors run (`template`).
//! - The agent lives in the image's `/etc`: `/usr` may be read-only, and what starts the agent has
//!   to be written there anyway (`agent`).
//! - `sys` is a folder with a file for each of those who need it.

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
