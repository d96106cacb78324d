//! One file or folder for each command, with its own arguments. A command returns its result as a value,
//! which `cli` prints. Long results are written through `stdout_sink`, and what a guest prints through
//! `stdio` and the console.

pub(crate) mod args;
pub mod cat;
pub mod chain;
pub(crate) mod chroot;
pub(crate) mod cp;
pub mod destination;
pub mod df;
pub(crate) mod diff;
pub mod doctor;
mod glob;
pub mod image_path;
pub mod inspect;
pub(crate) mod inspection;
pub(crate) mod kernel;
pub(crate) mod log;
pub mod ls;
pub mod mount;
mod output_files;
mod report_file;
pub(crate) mod run;
mod stdio;
pub mod stdout_sink;
pub(crate) mod tail;
pub mod tar_transfer;
pub(crate) mod template;
pub(crate) mod test;

crate::launch::failure::failures_with_hint!(
    destination::DestinationError,
    image_path::ImagePathError,
);
