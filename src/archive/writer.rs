//! Writes a tar stream: members to blocks. A member gets an extended header only if its properties
//! do not fit into ustar's.

use std::borrow::Cow;
use std::io::Write;

use super::member::{Kind, Member};
use super::{ArchiveError, BLOCK, MAX_EXTENDED};

/// Writes the headers of a member. Its data, [`Member::data`] bytes, comes next, and then
/// [`padding`]. Fails also if the extended attributes are too large for a header.
pub fn begin(out: &mut impl Write, member: &Member) -> Result<(), ArchiveError> {
    let map = member.segments.as_deref().map(sparse_map);
    let stored = member.data() + map.as_ref().map_or(0, |map| map.len() as u64);
    let name = stored_name(member);
    let records = records(member, &name, stored);
    if records.len() > MAX_EXTENDED {
        return Err(ArchiveError::TooLarge("an extended header"));
    }
    if !records.is_empty() {
        let pax = Member::new(b"pax".to_vec(), Kind::File);
        out.write_all(&header(&pax, &pax.path, b'x', records.len() as u64))?;
        out.write_all(&records)?;
        out.write_all(padding(records.len() as u64))?;
    }
    // Values that do not fit are in the records; a reader without pax gets them cut.
    let path = match map {
        Some(_) => &[b"GNUSparseFile.0/", base(&member.path)].concat(),
        None => &*name,
    };
    out.write_all(&header(member, path, member.kind.letter(), stored))?;
    Ok(out.write_all(&map.unwrap_or_default())?)
}

/// The zeros that fill the last block of `bytes` bytes.
pub fn padding(bytes: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    &ZEROS[..(BLOCK - (bytes % BLOCK as u64) as usize) % BLOCK]
}

pub fn end(out: &mut impl Write) -> Result<(), ArchiveError> {
    Ok(out.write_all(&[0; 2 * BLOCK])?)
}

/// The name of a directory ends in a slash, as tar(1) has it.
fn stored_name(member: &Member) -> Cow<'_, [u8]> {
    match member.kind {
        Kind::Directory if !member.path.ends_with(b"/") => [&member.path[..], b"/"].concat().into(),
        _ => (&*member.path).into(),
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// GNU's format 1.0: the number of segments, then each one's offset and length, in decimal, a
/// line each, filled to a block. It precedes the data and counts as part of it.
fn sparse_map(segments: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for (offset, length) in segments {
        map += &format!("{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.extend_from_slice(padding(map.len() as u64));
    map
}

/// The records of the extended header: what ustar cannot express.
fn records(member: &Member, name: &[u8], stored: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| record(&mut out, key, value);
    let (seconds, nanoseconds) = member.modified;
    if nanoseconds != 0 || !(0..1 << 33).contains(&seconds) {
        put(b"mtime", timestamp(seconds, nanoseconds).as_bytes());
    }
    if member.segments.is_some() {
        put(b"GNU.sparse.major", b"1");
        put(b"GNU.sparse.minor", b"0");
        put(b"GNU.sparse.name", name);
        put(b"GNU.sparse.realsize", member.size.to_string().as_bytes());
    } else if name.len() > 100 || !name.is_ascii() {
        put(b"path", name);
    }
    if member.target.len() > 100 || !member.target.is_ascii() {
        put(b"linkpath", &member.target);
    }
    if stored >= 1 << 33 {
        put(b"size", stored.to_string().as_bytes());
    }
    for (key, number) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if number >= 1 << 21 {
            put(key, number.to_string().as_bytes());
        }
    }
    for (name, value) in &member.attributes {
        put(&[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    out
}

/// Seconds and nanoseconds as a decimal fraction; before 1970 it counts down from zero.
fn timestamp(seconds: i64, nanoseconds: u32) -> String {
    match (seconds < 0, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (true, _) => {
            let whole = (seconds + 1).unsigned_abs();
            format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds)
        }
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let length = length.to_string();
    for part in [length.as_bytes(), b" ", key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// ustar's block (pax, "ustar Header Block").
fn header(member: &Member, path: &[u8], letter: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put_bytes(&mut block[..100], path);
    put_octal(&mut block[100..108], u64::from(member.mode));
    put_octal(&mut block[108..116], u64::from(member.uid));
    put_octal(&mut block[116..124], u64::from(member.gid));
    put_octal(&mut block[124..136], size);
    let seconds = u64::try_from(member.modified.0).unwrap_or(0);
    put_octal(&mut block[136..148], seconds);
    block[148..156].fill(b' ');
    block[156] = letter;
    put_bytes(&mut block[157..257], &member.target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], u64::from(member.device.0));
    put_octal(&mut block[337..345], u64::from(member.device.1));
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put_octal(&mut block[148..155], sum);
    block
}

fn put_bytes(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits and a NUL; for a number that does not fit, the largest that does.
fn put_octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let most = (1_u64 << (3 * digits.min(20))) - 1;
    let text = format!("{:0digits$o}", number.min(most));
    put_bytes(field, text.as_bytes());
}
