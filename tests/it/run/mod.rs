//! `bivouac run` with real guests.

mod kill;
