//! The integration tests: one binary, a folder for each part.

mod doctor;
mod host;
