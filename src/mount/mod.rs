//! An image as a filesystem of the host: requests of the host's kernel (FUSE) are answered by the
//! appliance that has mounted the image. The host's kernel never parses it.
//!
//! [`host`] mounts, either at a directory or in a mount namespace of one command. [`requests`] takes the
//! kernel's requests, on a thread of its own, to [`tree`], which answers them by the session with the agent:
//! [`nodes`] are the files that the kernel knows, [`reader`] reads ahead in those that are open.

pub mod host;
mod nodes;
mod reader;
mod requests;
mod tree;

pub use requests::{Requests, start};
pub use tree::Tree;
