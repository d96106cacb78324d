//! What a test needs: the guests that `scripts/guests` made, a bivouac process that can be
//! talked to and signalled, and a look at what is left behind.

pub mod bivouac;
pub mod guests;
pub mod residue;

pub use bivouac::{Bivouac, Running};
pub use guests::guest;
