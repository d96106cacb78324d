//! A machine saved when ready, and restored copy-on-write: the second start is no boot.
//!
//! [`key`] is all that makes a template valid, [`store`] the directory of templates with its
//! locks, [`manifest`] what a template says of itself, [`memory`] the file that is a machine's
//! memory. [`saved`] boots a machine to save it, [`restore`] is a clone of it, and [`appliance`]
//! finds or builds the template of the appliance.
//!
//! A template is a cache: deleting it is always safe, and one that is damaged, from another
//! host or of another program is never used.

pub mod appliance;
pub mod digest;
pub mod error;
pub mod key;
pub mod manifest;
pub mod memory;
pub mod obtain;
pub mod restore;
pub mod saved;
pub mod store;

pub use error::TemplateError;
pub use store::{Store, StoreError};
