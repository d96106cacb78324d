//! Every integration test, in one binary, a folder for each part. Below `vm` stands what boots a
//! machine or needs more than cargo; what is missing is a failure, never a skip.

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
mod source;
mod template;
mod vm;
