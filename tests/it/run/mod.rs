//! Tests of `bivouac run`.
