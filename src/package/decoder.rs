//! The decompressed data of a package, limited in size and in the memory that decoding takes.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{LARGEST, PackageError};

/// How much memory a decoder of xz may take, in KiB. `xz -9` needs 65 MiB. (That of zstd has a
/// limit of its own: 128 MiB.)
const XZ_MEMORY: u32 = 80 << 10;

/// The data in `from`, whose first bytes say how it is compressed. Reading beyond [`LARGEST`] is an error.
pub(crate) fn decoder<'a>(from: impl Read + 'a) -> Result<Box<dyn Read + 'a>, PackageError> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let decoder: Box<dyn Read + 'a> = match from.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Zstd {
            frame: Some(frame(from)?),
        }),
        [b'B', b'Z', b'h', ..] => {
            return Err(PackageError::Unsupported("its compression by bzip2"));
        }
        [0x5d, 0, 0, ..] => return Err(PackageError::Unsupported("its compression by lzma")),
        _ => Box::new(from),
    };
    Ok(Box::new(Limited {
        decoder,
        left: LARGEST,
    }))
}

/// The data in `from` if it is compressed with gzip, xz, zstd or bzip2, and with which. There may be any amount.
pub(crate) fn decompressed<'a>(
    from: impl Read + Send + 'a,
) -> io::Result<Option<(&'static str, Box<dyn Read + Send + 'a>)>> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    Ok(match from.fill_buf()? {
        [0x1f, 0x8b, 8, ..] => Some(("gzip", Box::new(flate2::bufread::MultiGzDecoder::new(from)))),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some((
            "xz",
            Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY)),
        )),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some((
            "zstd",
            Box::new(Zstd {
                frame: Some(frame(from)?),
            }),
        )),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            Some(("bzip2", Box::new(bzip2::bufread::MultiBzDecoder::new(from))))
        }
        _ => None,
    })
}

/// Frames of zstd, one after the other.
struct Zstd<R: Read> {
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

fn frame<R: BufRead>(from: R) -> io::Result<StreamingDecoder<R, FrameDecoder>> {
    StreamingDecoder::new(from).map_err(io::Error::other)
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(current) = &mut self.frame {
            let read = current.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let rest = self.frame.take().map(StreamingDecoder::into_inner);
            if let Some(mut rest) = rest
                && !rest.fill_buf()?.is_empty()
            {
                self.frame = Some(frame(rest)?);
            }
        }
        Ok(0)
    }
}

struct Limited<'a> {
    decoder: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("a package of more than 4 GiB"))?;
        Ok(read)
    }
}
