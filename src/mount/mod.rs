//! An image as a filesystem of the host: requests of the host's kernel (FUSE) are answered by the
//! appliance that has mounted the image. The host's kernel never parses it.
//!
//! It is mounted either at a directory ([`at_directory`]), or for one command in a namespace that [`private`]
//! starts and [`keeper`] keeps.
//!
//! [`requests`] takes the kernel's requests, on a thread of its own, to [`tree`], and [`replies`] tells the
//! kernel what is found there: [`nodes`] are the files that the kernel knows, [`listings`] and [`contents`] get
//! directories and small files from the guest, many at a time, and [`reader`] reads ahead in large ones.

mod at_directory;
mod contents;
mod devices;
mod error;
pub mod keeper;
mod listing;
mod listing_stream;
mod listings;
mod nodes;
mod private;
mod reader;
mod replies;
mod requests;
mod tree;

pub use at_directory::AtDirectory;
pub use error::MountError;
pub use private::{PrivateMount, VARIABLE};
pub use requests::{Requests, start};
pub use tree::Tree;
