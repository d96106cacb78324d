//! `bivouac test`: a command for each of many cases, each in a machine of its own, restored from one
//! that was prepared.
//!
//! [`cases`] reads and deals out the cases, [`case`] runs one, [`reporter`] says what came of them in
//! the formats of [`render`], and [`keep`] writes what is kept of those that failed.

mod args;
mod case;
mod cases;
mod keep;
mod render;
mod reporter;
mod result;
mod run;

pub use args::Args;
pub use reporter::Printer;
pub(crate) use run::run;
