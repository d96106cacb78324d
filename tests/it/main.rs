//! Every integration test, in one binary, a folder for each part. Below `vm` stands what boots a
//! machine or needs more than cargo; what is missing is a failure, never a skip.

#![allow(
    unsafe_code,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used
)]

mod architecture;
mod args;
mod docs;
mod doctor;
mod env;
mod guest;
mod host;
mod image;
mod inspection;
mod output;
mod packages;
mod template;
mod vm;
