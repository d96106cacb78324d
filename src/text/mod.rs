//! Text for people and for other programs: escaping, sizes, times, tables, CSV. Pure: it opens
//! nothing, prints nothing, and depends on nothing of ours.

pub mod csv;
pub mod escape;
mod one_line;
pub mod size;
pub mod table;
pub mod time;

pub use one_line::one_line;
