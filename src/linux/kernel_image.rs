//! The release of a kernel, by its image.

use super::bytes::Fields;

/// The bytes that [`release`] needs: the setup code of x86 has at most 64 sectors.
pub const HEAD: u64 = 64 * 512;
/// Limit on the length of a release (`__NEW_UTS_LEN`).
const MAX_RELEASE: usize = 64;

/// The release in the header of an x86 kernel (Documentation/arch/x86/boot.rst, `kernel_version`);
/// `None` for kernels of other processors, which have none.
pub fn release(head: &[u8]) -> Option<String> {
    if !head.has(0x202, b"HdrS") {
        return None;
    }
    let version = usize::from(head.le16(0x20e));
    let text = head.get(version.checked_add(0x200)?..)?;
    word(text).filter(|_| version != 0)
}

/// Where a section of a PE file such as `.uname` is: its offset and its length.
pub fn section(head: &[u8], name: &str) -> Option<(u64, u64)> {
    let header = head.has(0, b"MZ").then(|| head.le32(0x3c) as usize)?;
    if !head.has(header, b"PE\0\0") {
        return None;
    }
    let number = usize::from(head.get_le16(header.checked_add(6)?)?);
    let table = header + 24 + usize::from(head.get_le16(header + 20)?);
    let sections = head.get(table..)?.chunks_exact(40).take(number);
    let mut named = sections.filter(|section| word(&section[..8]).as_deref() == Some(name));
    let section = named.next()?;
    // The size in the file is rounded up.
    let length = section.le32(8).min(section.le32(16));
    Some((u64::from(section.le32(20)), u64::from(length)))
}

/// The first word of a text that ends at a NUL.
pub fn word(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| *byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    let word = text.split(u8::is_ascii_whitespace).next()?;
    let word = std::str::from_utf8(word).ok()?;
    let is_plain = word.chars().all(|c| c.is_ascii_graphic());
    (is_plain && !word.is_empty() && word.len() <= MAX_RELEASE).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bzimage(version: &str) -> Vec<u8> {
        let mut image = vec![0; 0x1000];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
        image[0x800..0x800 + version.len()].copy_from_slice(version.as_bytes());
        image
    }

    #[test]
    fn the_header_of_x86_has_the_release() {
        let image = bzimage("7.0.12-arch1-1 (linux@archlinux) #1 SMP");
        assert_eq!(release(&image).as_deref(), Some("7.0.12-arch1-1"));
        assert_eq!(release(&bzimage("")), None);
        assert_eq!(release(&image[..0x700]), None);
        // A kernel for arm64 begins with another header.
        assert_eq!(release(&[0; 4096]), None);
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let mut image = vec![0; 0x300];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 2;
        image[0x94] = 16;
        let table = 0x80 + 24 + 16;
        image[table..table + 5].copy_from_slice(b".text");
        let second = table + 40;
        image[second..second + 6].copy_from_slice(b".uname");
        image[second + 8] = 5;
        image[second + 17] = 2;
        image[second + 21] = 4;
        assert_eq!(section(&image, ".uname"), Some((0x400, 5)));
        assert_eq!(section(&image, ".linux"), None);
        assert_eq!(section(&bzimage("6.1"), ".uname"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            release(&bytes);
            section(&bytes, ".uname");
            if bytes.len() > 0x210 {
                bytes[0x202..0x206].copy_from_slice(b"HdrS");
                bytes[..2].copy_from_slice(b"MZ");
                bytes[0x3c..0x40].copy_from_slice(&[0x40, 0, 0, 0]);
                bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
            }
            release(&bytes);
            section(&bytes, ".uname");
        }
    }
}
