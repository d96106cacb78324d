//! Facts about the systems of an image. Files of a mounted root are read over a session, each up
//! to a limit, and parsed here on the host by pure functions. All of it is untrusted and only fit
//! to be printed. What cannot be found out is `None`; errors are those of the session, and read
//! errors of an image in use, which may have been read in the middle of a change.
//!
//! [`filesystems`] sorts what a survey found, [`image_files`] reads a mounted root, and [`facts`]
//! collects what the other modules find in it.

pub mod architecture;
pub mod facts;
pub mod filesystems;
pub mod hostname;
pub mod image_files;
pub mod init;
pub mod kernel_images;
pub mod kernels;
pub mod last_boot;
pub mod locale;
pub mod log;
pub mod packages;
pub mod services;
pub mod users;
