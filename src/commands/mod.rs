//! One file or folder a command, each with its own arguments. A command returns what it found as a
//! value; it prints nothing (the `cli` does), except that `run` hands the terminal to the guest.

pub(crate) mod args;
pub mod cat;
pub mod chain;
pub(crate) mod chroot;
pub(crate) mod cp;
pub mod df;
pub mod doctor;
pub mod image_path;
pub mod inspect;
pub(crate) mod inspection;
pub mod ls;
mod output_files;
mod report_file;
pub(crate) mod run;
mod stdio;
pub mod stdout_sink;
pub(crate) mod tail;
pub mod tar_transfer;
pub(crate) mod template;

crate::launch::failure::failures_with_hint!(
    cp::destination::DestinationError,
    image_path::ImagePathError,
);
