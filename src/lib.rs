//! Bivouac starts a virtual machine from any disk image, lets the guest write whatever it
//! likes, and leaves no trace: the image is never changed and nothing stays behind.
//!
//! [`launch`] is for other programs, with an example. All other modules are internal: they are
//! public only where tests and benchmarks use them, and change without notice.
//!
//! `ARCHITECTURE.md` says what each module is for, which module may use which, how they work together,
//! which invariants hold everywhere, and which test keeps each.

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
pub mod block;
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
#[doc(hidden)]
pub mod journal;
mod kernels;
pub mod launch;
#[doc(hidden)]
pub mod linux;
#[doc(hidden)]
pub mod machine;
pub mod mount;
#[doc(hidden)]
pub mod package;
#[doc(hidden)]
pub mod protocol;
mod qmp;
#[doc(hidden)]
pub mod rpc;
#[doc(hidden)]
pub mod sandbox;
#[doc(hidden)]
pub mod serve;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod template;
mod text;
