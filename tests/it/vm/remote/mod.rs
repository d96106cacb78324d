//! Images on other hosts (`--remote`).

mod cases;
mod killed;
mod read;
mod refused;
mod silent;
