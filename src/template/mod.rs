//! The cache of snapshots: a machine that was saved when it was ready is restored copy-on-write, so
//! the second start needs no boot.
//!
//! [`key`] is everything that makes a template valid, [`store`] the directory of templates with its
//! locks, [`manifest`] what a template records about itself, [`memory`] the file of a machine's
//! memory, [`content`] what is copied into a machine before it is saved. `lookup` finds a template or
//! has it built, `save` makes a [`snapshot`] of a machine, `checkpoint` one of a machine that goes on,
//! `restore` starts
//! a clone.
//!
//! A template is a cache entry: deleting it is always safe, and one that is damaged, or comes from
//! another host or another program, is never used.

pub(crate) mod checkpoint;
pub mod content;
pub mod digest;
pub mod error;
pub mod key;
pub(crate) mod lookup;
pub mod manifest;
pub mod memory;
pub(crate) mod restore;
pub(crate) mod save;
pub mod snapshot;
pub mod store;

pub use error::TemplateError;
pub use store::{Store, StoreError};
