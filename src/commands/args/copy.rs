//! How much is copied out of a guest.

use std::cell::Cell;

use crate::text::size::parse_size;

#[derive(Clone, Debug, clap::Args)]
pub struct CopyLimit {
    /// Limit on what is copied to this host, in all
    #[arg(long, value_name = "SIZE", default_value = "16G", value_parser = parse_size)]
    max_copy: u64,
}

impl CopyLimit {
    /// How many bytes are left, which each copy lowers.
    pub(crate) fn left(&self) -> Cell<u64> {
        Cell::new(self.max_copy)
    }
}
