//! Images of kernels that say their release, and nothing else.

/// The header of x86, with a release (Documentation/arch/x86/boot.rst).
pub fn bzimage(release: &str) -> String {
    let mut image = vec![0; 0x800];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
    image.extend(format!("{release} (x@y) #1\0").bytes());
    String::from_utf8(image).unwrap()
}

/// A unified image, whose only section says the release.
pub fn unified(release: &str) -> String {
    let mut image = vec![0; 0x200];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x46] = 1;
    image[0x58..0x5e].copy_from_slice(b".uname");
    image[0x60] = release.len() as u8;
    image[0x69] = 2;
    image[0x6d] = 2;
    image.extend(release.bytes());
    image.resize(0x400, 0);
    String::from_utf8(image).unwrap()
}
