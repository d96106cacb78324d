//! Numbers at an offset in a block of bytes, little-endian (`le`) and big-endian (`be`). Nothing
//! here panics, whatever the offset.

/// The two methods for one type of number.
macro_rules! fields {
    ($($number:ty: $or_zero:ident, $get:ident, $from:ident;)*) => {$(
        #[doc = concat!("A `", stringify!($number), "`; 0 if the block is too short.")]
        fn $or_zero(&self, at: usize) -> $number {
            self.$get(at).unwrap_or(0)
        }

        #[doc = concat!("A `", stringify!($number), "`; `None` if the block is too short.")]
        fn $get(&self, at: usize) -> Option<$number> {
            self.get_array(at).map(<$number>::$from)
        }
    )*};
}

/// Bounds-checked fields.
///
/// `le32(at)` gives 0 if the block is too short, for blocks of a fixed size and for probes that
/// compare with a magic number. `get_le32(at)` gives `None` instead.
pub trait Fields {
    /// `N` bytes at `at`; `None` if the block is too short.
    fn get_array<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// `length` bytes at `at`; empty if the block is too short.
    fn part(&self, at: usize, length: usize) -> &[u8];

    /// Whether the bytes at `at` start with `what`.
    fn has(&self, at: usize, what: &[u8]) -> bool;

    fields! {
        u16: le16, get_le16, from_le_bytes;
        u32: le32, get_le32, from_le_bytes;
        u64: le64, get_le64, from_le_bytes;
        u16: be16, get_be16, from_be_bytes;
        u32: be32, get_be32, from_be_bytes;
        u64: be64, get_be64, from_be_bytes;
    }
}

impl Fields for [u8] {
    fn get_array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }

    fn part(&self, at: usize, length: usize) -> &[u8] {
        let rest = self.get(at..).unwrap_or_default();
        rest.get(..length).unwrap_or_default()
    }

    fn has(&self, at: usize, what: &[u8]) -> bool {
        self.get(at..).is_some_and(|rest| rest.starts_with(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_byte_order() {
        let block = &[1, 2, 3, 4, 5, 6, 7, 8, 9][..];
        assert_eq!((block.le16(1), block.be16(1)), (0x0302, 0x0203));
        assert_eq!((block.le32(0), block.be32(5)), (0x0403_0201, 0x0607_0809));
        assert_eq!(block.get_be64(1), Some(0x0203_0405_0607_0809));
        assert_eq!(block.get_le64(0), Some(0x0807_0605_0403_0201));
        assert!(block.has(7, &[8, 9]) && !block.has(8, &[9, 10]));
        assert_eq!(block.part(7, 2), [8, 9]);
    }

    #[test]
    fn outside_the_block_there_is_nothing() {
        let block = &[1, 2, 3][..];
        for at in [1, 3, 4, usize::MAX] {
            assert_eq!((block.le32(at), block.get_be32(at)), (0, None));
            assert_eq!(block.part(at, 4), b"");
            assert!(!block.has(at, &[9]));
        }
    }
}
