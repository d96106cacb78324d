//! A disk image as data: its format, its header, its layers, the chain from top to base.
//!
//! Everything is opened read-only and once; nothing here writes to an image, starts a
//! process, or lets a header say how much to allocate. The one thing written is the header
//! of a new, empty overlay, into a file that the caller made ([`qcow2::EmptyOverlay`]).
//!
//! In reading order: [`mod@format`], [`qcow2`], [`foreign`], [`opened`], [`layer`],
//! [`backing_name`], [`place`], [`chain`], [`error`].

pub mod backing_name;
pub mod chain;
pub mod error;
pub mod foreign;
pub mod format;
pub mod layer;
mod mend;
pub mod opened;
pub mod place;
pub mod qcow2;
mod request;

pub use error::ChainError;
pub use format::{Evidence, Format};
