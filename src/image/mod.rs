//! Disk images as data: formats, headers, layers, and the chain from the top image to its base.
//!
//! Every image is opened once and read-only; nothing here writes to an image, starts a process,
//! or allocates by a size that a header states. The one thing written is the metadata of a new,
//! empty overlay, and what is merged of several, into a file that the caller created
//! ([`qcow2::EmptyOverlay`], `qcow2::merge`).
//!
//! In reading order: [`mod@format`], [`qcow2`], [`formats`], [`image_file`], [`layer`],
//! [`packed`], [`remote_url`], [`nbd`], [`nbd_server`], [`remote_image`], [`open_image`], [`ovf`], [`backing_name`], [`trust`], [`origin`], [`explicit`], [`chain`], [`likely`], [`guest_disk`],
//! [`boot_sectors`], [`error`], [`remote_error`],
//! [`hints`].

pub(crate) mod backing_name;
pub mod boot_sectors;
pub mod chain;
pub(crate) mod error;
mod explicit;
pub(crate) mod file_kind;
mod format;
pub mod formats;
pub mod guest_disk;
mod hints;
pub(crate) mod image_file;
pub(crate) mod layer;
mod likely;
pub mod nbd;
mod nbd_server;
pub(crate) mod open_image;
mod origin;
pub mod ovf;
pub(crate) mod packed;
pub mod qcow2;
mod remote_error;
pub(crate) mod remote_image;
pub mod remote_url;
mod trust;

pub(crate) use error::ChainError;
pub use format::{Evidence, Format};
pub use trust::{Right, Trust};
