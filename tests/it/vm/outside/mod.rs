//! Programs that others wrote, with bivouac.

mod python;
