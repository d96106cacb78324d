//! Content that holds a disk image but is not one: compressed files, archives, formats of other
//! programs; and what comes instead of an image when a download fails.
//!
//! It is recognised by content alone, because a packed image may have any name. Pure: it opens no
//! file. Each signature is checked together with the fields behind it, so that the first sectors
//! of real disks (zeros, boot code, a partition table) are not taken for one.

use super::hints::with_suffix;
use crate::linux::bytes::Fields;
use crate::text::escape::shell_word;
use std::path::Path;

/// What a file is instead of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// As the rest of the sentence "it is ...".
    pub what: &'static str,
    unpack: Unpack,
}

/// How the image is got out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unpack {
    /// A filter, whose `-d` decompresses a file that has one of these extensions.
    Filter {
        program: &'static str,
        keeps: &'static str,
        extensions: &'static [&'static str],
    },
    /// A command that takes the path last.
    Extract(&'static str),
    /// A command that takes the path and the name of a new image.
    Copy(&'static str),
    /// Nothing is in it: a command that shows what it is takes the path.
    Show(&'static str),
}

const fn filter(
    what: &'static str,
    program: &'static str,
    keeps: &'static str,
    extensions: &'static [&'static str],
) -> Packed {
    let unpack = Unpack::Filter {
        program,
        keeps,
        extensions,
    };
    Packed { what, unpack }
}

const fn extract(what: &'static str, command: &'static str) -> Packed {
    let unpack = Unpack::Extract(command);
    Packed { what, unpack }
}

const fn copy(what: &'static str, command: &'static str) -> Packed {
    let unpack = Unpack::Copy(command);
    Packed { what, unpack }
}

type Check = fn(&[u8]) -> bool;

/// Each kind with its magic number at the start of the file, and a check of what follows.
#[rustfmt::skip]
const KINDS: [(&[u8], Check, Packed); 22] = [
    (b"\x1f\x8b\x08", gzip, filter("compressed with gzip", "gzip", "-dk", &["gz", "tgz"])),
    (b"\x1f\x9d", compress, filter("compressed with compress", "gzip", "-dk", &["Z"])),
    (b"\xfd7zXZ\0\0", xz, filter("compressed with xz", "xz", "-dk", &["xz", "txz"])),
    (b"\x5d\0\0", lzma, filter("compressed with lzma", "xz --format=lzma", "-dk", &["lzma"])),
    (b"BZh", bzip2, filter("compressed with bzip2", "bzip2", "-dk", &["bz2", "tbz2", "tbz"])),
    (b"\x28\xb5\x2f\xfd", zstd, filter("compressed with zstd", "zstd", "-d", &["zst", "tzst"])),
    (b"\x04\x22\x4d\x18", lz4, filter("compressed with lz4", "lz4", "-dm", &["lz4"])),
    (b"\x02\x21\x4c\x18", lz4_legacy, filter("compressed with lz4", "lz4", "-dm", &["lz4"])),
    (b"LZIP\x01", alone, filter("compressed with lzip", "lzip", "-dk", &["lz", "tlz"])),
    (b"\x89LZO\0\r\n\x1a\n", alone, filter("compressed with lzop", "lzop", "-d", &["lzo"])),
    (b"PK\x03\x04", zip, extract("a zip archive", "unzip")),
    (b"7z\xbc\xaf\x27\x1c\0", alone, extract("a 7-Zip archive", "7z x")),
    (b"Rar!\x1a\x07", alone, extract("a RAR archive", "7z x")),
    (b"MSCF\0\0\0\0", alone, extract("a cabinet archive", "cabextract")),
    (b"MSWIM\0\0\0", alone, extract("a Windows image (WIM)", "wimlib-imagex info")),
    (b"\xed\xab\xee\xdb\x03", alone, extract("an RPM package", "rpm2archive")),
    (b"!<arch>\n", alone, extract("an ar archive or a Debian package", "ar x")),
    (b"0707", cpio, extract("a cpio archive", "cpio -id -F")),
    (b"\x3a\xff\x26\xed\x01\0", sparse, copy("an Android sparse image", "simg2img")),
    (b"EVF\x09\r\n\xff\0\x01", alone, extract("a forensic image (EnCase)", "ewfexport -t image -f raw")),
    (b"Bochs Virtual HD Image\0", alone, copy("a Bochs image", "qemu-img convert -f bochs -O qcow2")),
    (b"#!/bin/sh\n#V2.0 Format\n", alone, copy("a cloop image", "qemu-img convert -f cloop -O qcow2")),
];

const TAR: Packed = extract("a tar archive", "tar -xf");
const OVA: Packed = extract(
    "an OVA, a tar archive with a virtual machine's disks",
    "tar -xf",
);
const MARKUP: Packed = Packed {
    what: "a web page or an XML document",
    unpack: Unpack::Show("head"),
};
const LFS: Packed = Packed {
    what: "a pointer of Git LFS to a file elsewhere",
    unpack: Unpack::Show("cat"),
};
/// Apple's compressed disk image, whose signature is at its end.
pub const DMG: Packed = copy(
    "an Apple disk image (dmg)",
    "qemu-img convert -f dmg -O qcow2",
);

/// What the file that begins with `head` is packed in. 512 bytes are enough.
pub fn recognised(head: &[u8]) -> Option<Packed> {
    let head = skip_frames(head);
    if let Some((.., packed)) =
        (KINDS.iter()).find(|(magic, check, _)| head.starts_with(magic) && check(head))
    {
        return Some(*packed);
    }
    if tar(head) {
        let name = head.part(0, 100).split(|byte| *byte == 0).next();
        let is_ova = name.is_some_and(|name| name.to_ascii_lowercase().ends_with(b".ovf"));
        return Some(if is_ova { OVA } else { TAR });
    }
    if head.starts_with(b"version https://git-lfs.github.com/") {
        return Some(LFS);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    let text = text[..text.len().min(16)].to_ascii_lowercase();
    let starts: [&[u8]; 4] = [b"<!doctype ", b"<html", b"<?xml ", b"<head"];
    (starts.iter().any(|start| text.starts_with(start))).then_some(MARKUP)
}

/// Whether `trailer`, the last 512 bytes of a file, is that of an Apple disk image: "koly",
/// version 4, of 512 bytes.
pub fn is_dmg_trailer(trailer: &[u8]) -> bool {
    trailer.has(0, b"koly\0\0\0\x04\0\0\x02\0")
}

impl Packed {
    /// Whether there may be an image in it.
    pub fn is_container(&self) -> bool {
        !matches!(self.unpack, Unpack::Show(_))
    }

    /// The command that gets the image out of the file at `path`.
    pub fn hint(&self, path: &Path) -> String {
        let image = shell_word(path);
        let suffix = match self.unpack {
            Unpack::Copy(command) if command.ends_with("qcow2") => "-unpacked.qcow2",
            _ => "-unpacked.img",
        };
        let unpacked = shell_word(with_suffix(path, suffix));
        match self.unpack {
            Unpack::Filter {
                program,
                keeps,
                extensions,
            } => {
                let has = |path: &Path, known: &[&str]| {
                    let extension = path.extension().and_then(|e| e.to_str());
                    extension.is_some_and(|e| known.iter().any(|k| k.eq_ignore_ascii_case(e)))
                };
                let stem = path.file_stem().map(Path::new);
                let known = has(path, extensions);
                let name = path.to_string_lossy().to_ascii_lowercase();
                let is_short = (extensions.iter()).any(|e| e.starts_with('t') && name.ends_with(e));
                if known && (is_short || stem.is_some_and(|stem| has(stem, &["tar"]))) {
                    format!("tar -xf {image}")
                } else if known {
                    format!("{program} {keeps} {image}")
                } else {
                    format!("{program} -dc < {image} > {unpacked}")
                }
            }
            Unpack::Extract(command) | Unpack::Show(command) => format!("{command} {image}"),
            Unpack::Copy(command) => format!("{command} {image} {unpacked}"),
        }
    }
}

/// Skippable frames, which pzstd and others put in front of the first real one (RFC 8878, section
/// 3.1.2; the same in lz4's frame format).
fn skip_frames(head: &[u8]) -> &[u8] {
    let mut rest = head;
    while (0x184D_2A50..=0x184D_2A5F).contains(&rest.le32(0)) {
        let next = (rest.le32(4) as usize).checked_add(8);
        match next.and_then(|next| rest.get(next..)) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest
}

/// The magic number is long enough.
fn alone(_: &[u8]) -> bool {
    true
}

/// RFC 1952: the upper flags are reserved, the tenth byte is one of 14 operating systems or 255.
fn gzip(head: &[u8]) -> bool {
    let [flags, system] = [3, 9].map(|at| head.get(at).copied().unwrap_or(0xff));
    flags & 0xe0 == 0 && head.len() >= 18 && matches!(system, 0..=13 | 255)
}

/// compress(1): the width of codes is 9 to 16 bits, and the bits 5 and 6 are not used.
fn compress(head: &[u8]) -> bool {
    (head.get(2)).is_some_and(|flags| flags & 0x60 == 0 && (9..=16).contains(&(flags & 0x1f)))
}

/// "The .xz File Format", section 2.1.1.2: the kind of check, of which four are in use.
fn xz(head: &[u8]) -> bool {
    matches!(head.get(7), Some(0 | 1 | 4 | 10))
}

/// The old format of xz(1): a dictionary of 2^n or 2^n + 2^(n-1) bytes, the unpacked size or -1, and
/// the range coder's first byte, which is 0.
fn lzma(head: &[u8]) -> bool {
    let (dictionary, size) = (head.le32(1), head.le64(5));
    let is_round = dictionary.count_ones() == 1 || dictionary.count_ones() == 2;
    let is_size = size == u64::MAX || (1..1 << 40).contains(&size);
    dictionary >= 1 << 16 && is_round && is_size && head.get(13) == Some(&0)
}

/// The size of blocks, 1 to 9, and the magic number of the first block, or of the end.
fn bzip2(head: &[u8]) -> bool {
    let block = [&b"1AY&SY"[..], b"\x17\x72\x45\x38\x50\x90"];
    matches!(head.get(3), Some(b'1'..=b'9')) && block.iter().any(|magic| head.has(4, magic))
}

/// RFC 8878, section 3.1.1.1.1: bit 3 of the frame header's descriptor is reserved.
fn zstd(head: &[u8]) -> bool {
    head.get(4).is_some_and(|descriptor| descriptor & 8 == 0)
}

/// "LZ4 Frame Format": version 1, reserved bits are zero, blocks of 64 KiB to 4 MiB.
fn lz4(head: &[u8]) -> bool {
    let [flags, blocks] = [4, 5].map(|at| head.get(at).copied().unwrap_or(0xff));
    flags & 0xc2 == 0x40 && blocks & 0x8f == 0 && blocks >> 4 >= 4
}

/// The legacy frame: the first block's compressed size, of at most 8 MiB and a little.
fn lz4_legacy(head: &[u8]) -> bool {
    (1..=(8 << 20) + (64 << 10)).contains(&head.le32(4))
}

/// APPNOTE.TXT, section 4.3.7: a version of up to 6.3, and a name that is not too long.
fn zip(head: &[u8]) -> bool {
    (1..=63).contains(&head.get(4).copied().unwrap_or(0)) && (1..=4096).contains(&head.le16(26))
}

/// The portable formats (070701, 070702, 070707): a header of hexadecimal or octal digits.
fn cpio(head: &[u8]) -> bool {
    let is_kind = matches!(head.part(4, 2), b"01" | b"02" | b"07");
    let digits = head.part(6, 70);
    is_kind && digits.len() == 70 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// system/core/libsparse/sparse_format.h: headers of 28 and 12 bytes, blocks a multiple of 4.
fn sparse(head: &[u8]) -> bool {
    let block = head.le32(12);
    (head.le16(8), head.le16(10)) == (28, 12) && block > 0 && block.is_multiple_of(4)
}

/// POSIX's ustar or GNU's, with the right checksum: the sum of the header's bytes, its own eight
/// counted as blanks, in octal.
pub fn tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512).filter(|header| header.has(257, b"ustar")) else {
        return false;
    };
    let digits = header.part(148, 8).iter();
    let digits =
        (digits.skip_while(|byte| **byte == b' ')).take_while(|byte| byte.is_ascii_digit());
    let stated = digits.fold(0, |sum: u32, digit| sum * 8 + u32::from(digit - b'0'));
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    let own: u32 = header.part(148, 8).iter().copied().map(u32::from).sum();
    sum - own + 8 * u32::from(b' ') == stated
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
