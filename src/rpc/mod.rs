//! The protocol of `bivouac session`: JSON-RPC 2.0, a message a line. Pure: text in, values out.
//!
//! [`line`] reads and writes the messages, [`data`] holds bytes, [`error`] has the errors.
//! [`exec`], [`files`], [`machines`] and [`changes`] have the parameters and results of the methods, which
//! [`call`] lists. `man/bivouac-session.5` is the document for users, and
//! `man/bivouac-session.schema.json` is the schema, which the tests of `schema` hold against the
//! types here.

pub mod call;
pub mod changes;
pub mod data;
pub mod error;
pub mod exec;
pub mod files;
pub mod line;
pub mod machines;
#[cfg(test)]
mod schema;

pub use call::{Call, Method};
pub use data::Data;
pub use error::{ErrorKind, RpcError};
pub use line::{Id, Message, Notification, Request};

/// The version of the protocol. It changes when a client of an earlier one would fail.
pub const VERSION: u32 = 1;

/// The longest request, in bytes.
pub const MAX_LINE: usize = 32 << 20;

/// How many requests may be open at a time.
pub const MAX_OPEN: usize = 256;

/// How many bytes of each stream or of a file an answer holds at most, and by default.
pub const MAX_DATA: u64 = 16 << 20;
pub const DEFAULT_DATA: u64 = 1 << 20;

/// How many entries of a directory an answer holds at most, and by default.
pub const MAX_ENTRIES: usize = 100_000;
pub const DEFAULT_ENTRIES: usize = 10_000;
