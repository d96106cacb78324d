//! Whether a device that holds nothing known is empty.

use super::device_reader::ReadAt;

/// How many bytes are read at the beginning, and at the end.
const START: usize = 64 << 10;
const END: usize = 4 << 10;

/// Whether all bytes are 0, or all are 0xff, at the beginning and the end. A filesystem or a member
/// of a volume has something in one of them.
pub(crate) fn is_blank(device: &dyn ReadAt) -> bool {
    let start = device.bytes_at(0, START);
    let end = device.bytes_at(device.size().saturating_sub(END as u64), END);
    let bytes = || start.iter().chain(&end);
    bytes().all(|byte| *byte == 0) || bytes().all(|byte| *byte == 0xff)
}

#[cfg(test)]
mod tests {
    use super::is_blank;

    #[test]
    fn one_byte_at_either_end_is_enough() {
        let mut disk = vec![0; 1 << 20];
        assert!(is_blank(&&disk[..]));
        disk[5] = 1;
        assert!(!is_blank(&&disk[..]));
        disk[5] = 0;
        disk[(1 << 20) - 1] = 1;
        assert!(!is_blank(&&disk[..]));
        assert!(is_blank(&&[0xff; 512][..]) && is_blank(&&[][..]));
    }
}
