//! The guest's bytes in one qcow2 image: where its tables say that they are. For a few bytes at the
//! start of a disk, before QEMU runs. Facts are from QEMU's docs/interop/qcow2.txt.

use std::io::{self, Read};

use super::header::COMPRESSION_TYPE;
use super::{Header, l1_entry_span};
use crate::image::formats::ReadAt;
use crate::linux::bytes::Fields;

/// Bits 9 to 55 of an L1 entry, and of an L2 entry of a standard cluster: the offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 62 of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an L2 entry of a standard cluster, without extended L2.
const ALL_ZEROS: u64 = 1;

/// What an image holds at some place.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// What the layer below holds.
    Below,
    Zeros,
    /// Bytes of the file, from this offset.
    At(u64),
    /// The first bytes of the cluster, as many as were asked for.
    Unpacked(Vec<u8>),
}

/// Fills `buffer` from `offset` of the guest's disk. What this image does not hold, `below` fills.
pub(crate) fn read(
    file: &(impl ReadAt + ?Sized),
    header: &Header,
    mut buffer: &mut [u8],
    mut offset: u64,
    mut below: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let bits = match header.extended_l2 {
        true => header.cluster_bits - 5,
        false => header.cluster_bits,
    };
    while !buffer.is_empty() {
        let in_unit = offset & ((1 << bits) - 1);
        let length = buffer.len().min((1 << bits) - in_unit as usize);
        let (now, rest) = buffer.split_at_mut(length);
        match content(file, header, offset, length)? {
            Content::Below => below(now, offset)?,
            Content::Zeros => now.fill(0),
            Content::At(at) => file.read_exact_at(now, at)?,
            Content::Unpacked(bytes) => {
                let start = bytes.len() - length;
                now.copy_from_slice(&bytes[start..]);
            }
        }
        (buffer, offset) = (rest, offset + length as u64);
    }
    Ok(())
}

/// What the image holds of `length` bytes at `offset`, which are in one cluster or subcluster.
fn content(
    file: &(impl ReadAt + ?Sized),
    header: &Header,
    offset: u64,
    length: usize,
) -> io::Result<Content> {
    // 36 - 39: l1_size, 40 - 47: l1_table_offset.
    let mut fields = [0; 12];
    file.read_exact_at(&mut fields, 36)?;
    let span = l1_entry_span(header.cluster_bits, header.extended_l2);
    let l1_index = offset / span;
    if l1_index >= u64::from(fields.be32(0)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let entry = |table: u64, index: u64, size: u64| {
        let mut entry = [0; 16];
        let at = index.checked_mul(size).and_then(|at| at.checked_add(table));
        let at = at.ok_or(io::ErrorKind::InvalidData)?;
        file.read_exact_at(&mut entry[..size as usize], at)?;
        Ok::<_, io::Error>((entry.be64(0), entry.be64(8)))
    };
    let (l1, _) = entry(fields.be64(4), l1_index, 8)?;
    let l2_table = l1 & OFFSET;
    if l2_table == 0 {
        return Ok(Content::Below);
    }
    let l2_index = (offset % span) >> header.cluster_bits;
    let l2_size = if header.extended_l2 { 16 } else { 8 };
    let (l2, bitmap) = entry(l2_table, l2_index, l2_size)?;
    let in_cluster = offset & ((1 << header.cluster_bits) - 1);
    if l2 & COMPRESSED != 0 {
        let wanted = in_cluster as usize + length;
        return unpack(file, header, l2, wanted).map(Content::Unpacked);
    }
    let (is_zero, is_here) = match header.extended_l2 {
        // "Bit 0 - 31: allocation status (one bit per subcluster)", 32 - 63: "reads as zeros".
        true => {
            let subcluster = in_cluster >> (header.cluster_bits - 5);
            let bit = |first: u64| bitmap >> (first + subcluster) & 1 == 1;
            (bit(32), bit(0))
        }
        false => (l2 & ALL_ZEROS != 0, l2 & OFFSET != 0),
    };
    Ok(match (is_zero, is_here) {
        (true, _) => Content::Zeros,
        (false, true) => Content::At((l2 & OFFSET) + in_cluster),
        (false, false) => Content::Below,
    })
}

/// The first `wanted` bytes of a compressed cluster.
fn unpack(
    file: &(impl ReadAt + ?Sized),
    header: &Header,
    l2: u64,
    wanted: usize,
) -> io::Result<Vec<u8>> {
    // "x = 62 - (cluster_bits - 8)"; bits 0 to x - 1: the offset; x to 61: "Number of additional
    // 512-byte sectors used for the compressed data".
    let x = 62 - (header.cluster_bits - 8);
    let offset = l2 & ((1 << x) - 1);
    let sectors = (l2 & (COMPRESSED - 1)) >> x;
    let packed = Packed {
        file,
        at: offset,
        end: (offset & !511) + (sectors + 1) * 512,
    };
    // 72 - 79: incompatible_features. The bit is set for all but zlib, and zstd is the only other.
    let mut features = [0; 8];
    if header.version == 3 {
        file.read_exact_at(&mut features, 72)?;
    }
    let mut bytes = vec![0; wanted];
    match features.be64(0) & COMPRESSION_TYPE {
        0 => flate2::read::DeflateDecoder::new(packed).read_exact(&mut bytes)?,
        _ => ruzstd::decoding::StreamingDecoder::new(packed)
            .map_err(io::Error::other)?
            .read_exact(&mut bytes)?,
    }
    Ok(bytes)
}

/// The bytes of a compressed cluster. The file may end before its last sector does.
struct Packed<'a, F: ?Sized> {
    file: &'a F,
    at: u64,
    end: u64,
}

impl<F: ReadAt + ?Sized> Read for Packed<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One sector after the other: it ends where the file does.
        let to_sector = 512 - self.at % 512;
        let length = (self.end - self.at).min(to_sector).min(buffer.len() as u64) as usize;
        match self.file.read_exact_at(&mut buffer[..length], self.at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        }
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An image with clusters of 512 bytes, an L1 table of one entry at 512 and these L2 entries at
    /// 1024.
    fn image(features: u64, l2: &[u64]) -> Vec<u8> {
        let mut file = vec![0; 8 << 10];
        file[36..40].copy_from_slice(&1_u32.to_be_bytes());
        file[40..48].copy_from_slice(&512_u64.to_be_bytes());
        file[72..80].copy_from_slice(&features.to_be_bytes());
        file[512..520].copy_from_slice(&1024_u64.to_be_bytes());
        for (at, entry) in (1024..).step_by(8).zip(l2) {
            file[at..at + 8].copy_from_slice(&entry.to_be_bytes());
        }
        file
    }

    fn read_all(file: &[u8], extended_l2: bool) -> io::Result<Vec<u8>> {
        let header = Header {
            version: 3,
            cluster_bits: if extended_l2 { 14 } else { 9 },
            l1_entries: 1,
            virtual_size: 32 << 10,
            backing: None,
            dirty: false,
            corrupt: false,
            extended_l2,
        };
        let mut buffer = vec![0xaa; 4096];
        read(file, &header, &mut buffer, 0, |below, _| {
            below.fill(1);
            Ok(())
        })?;
        Ok(buffer)
    }

    #[test]
    fn a_cluster_is_below_or_zeros_or_here() {
        let mut file = image(0, &[0, 1, 4096]);
        file[4096..4608].fill(7);
        let bytes = read_all(&file, false).unwrap();
        let expected = [[1; 512], [0; 512], [7; 512], [1; 512]];
        assert!(bytes.starts_with(expected.as_flattened()));
    }

    #[test]
    fn tables_that_lead_out_of_the_file_are_an_error() {
        let mut file = image(0, &[1 << 40]);
        assert!(read_all(&file, false).is_err());
        file[36..40].fill(0);
        let error = read_all(&file, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_table_gives_bytes_or_an_error(
            l2 in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..8192], 8),
            compressed in any::<bool>(),
            features in prop_oneof![Just(0), Just(COMPRESSION_TYPE)],
            extended_l2 in any::<bool>(),
        ) {
            let flag = if compressed { COMPRESSED } else { 0 };
            let l2: Vec<u64> = l2.into_iter().map(|entry| entry | flag).collect();
            let _ = read_all(&image(features, &l2), extended_l2);
        }
    }
}
