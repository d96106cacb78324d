//! A kernel module as the appliance loads it: decompressed, and without its signature.
//!
//! An emulated guest would do both at a tenth of the speed. The three decoders only ever read this
//! host's own modules.

use std::io::{self, Read};

/// In bytes. Larger than any module that the appliance takes: they have no debug information.
const LARGEST: u64 = 256 << 20;

/// The end of a signed module.
const MARKER: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature` (include/linux/module_signature.h): three bytes of kinds, two of
/// lengths, three of padding, and the length of the signature, big-endian.
const SIGNATURE_INFORMATION: usize = 12;

/// The module in `file`, whose name says how it is compressed: `.ko`, `.gz`, `.xz` or `.zst`.
/// InvalidData if it is no module.
pub(super) fn unpack(name: &str, file: Vec<u8>) -> io::Result<Vec<u8>> {
    let bytes = &file[..];
    let mut module = match name.rsplit('.').next() {
        Some("gz") => read(flate2::read::GzDecoder::new(bytes))?,
        Some("xz") => read(lzma_rust2::XzReader::new(bytes, true))?,
        Some("zst") => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
            read(decoder.map_err(io::Error::other)?)?
        }
        _ => file,
    };
    if !module.starts_with(b"\x7fELF") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a kernel module",
        ));
    }
    let signed = unsigned_length(&module);
    module.truncate(signed);
    Ok(module)
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The length of the module without its appended signature. An unsigned module loads as well: the
/// kernel enforces signatures only if its command line says so. The guest then saves an RSA
/// check for each.
fn unsigned_length(module: &[u8]) -> usize {
    let unsigned = || {
        let before = module.strip_suffix(MARKER)?;
        let size = u32::from_be_bytes(*before.last_chunk()?);
        before
            .len()
            .checked_sub(SIGNATURE_INFORMATION + size as usize)
    };
    unsigned().unwrap_or(module.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(module: &[u8], signature: &[u8], said: u32) -> Vec<u8> {
        let mut bytes = [module, signature, &[0, 0, 2, 0, 0, 0, 0, 0]].concat();
        bytes.extend(said.to_be_bytes());
        bytes.extend(MARKER);
        bytes
    }

    #[test]
    fn a_signature_is_taken_off() {
        let module = b"\x7fELF and so on";
        let bytes = signed(module, &[9; 300], 300);
        assert_eq!(unpack("a.ko", bytes).unwrap(), module);
        assert_eq!(unpack("a.ko", module.to_vec()).unwrap(), module);
    }

    #[test]
    fn a_signature_that_lies_about_its_size_stays() {
        let bytes = signed(b"\x7fELF", &[9; 30], 3000);
        assert_eq!(unpack("a.ko", bytes.clone()).unwrap(), bytes);
    }

    #[test]
    fn gzip_is_unpacked_and_what_is_no_module_is_refused() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"\x7fELF module").unwrap();
        let bytes = encoder.finish().unwrap();
        assert_eq!(unpack("a.ko.gz", bytes.clone()).unwrap(), b"\x7fELF module");
        for name in ["a.ko", "a.ko.xz", "a.ko.zst"] {
            assert!(unpack(name, bytes.clone()).is_err(), "{name}");
        }
    }
}
