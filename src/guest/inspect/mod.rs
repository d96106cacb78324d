//! What an image holds, from the host's side: files of a mounted root are read over a session,
//! each up to a limit, and understood here by pure functions. The image's own word is all
//! there is; nothing here is believed further than to be shown.
//!
//! [`filesystems`] sorts what a survey found, [`view`] reads a mounted root, and [`facts`] puts
//! together what the other modules find in it.

pub mod architecture;
pub mod facts;
pub mod filesystems;
pub mod hostname;
pub mod init;
pub mod kernels;
pub mod last_boot;
pub mod packages;
pub mod users;
pub mod view;
