//! Programs that others wrote, and that work with bivouac.

mod containers;
mod kernel;
