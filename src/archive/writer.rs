//! Members to blocks. An extended header stands before a member only where ustar's has no room.

use std::io::Write;

use super::member::Member;
use super::{ArchiveError, BLOCK, MAX_EXTENDED};

/// Writes the headers of a member. Its data, [`Member::data`] bytes, comes next, and then
/// [`padding`].
///
/// # Errors
/// What writing says; extended attributes over all caps.
pub fn begin(out: &mut impl Write, member: &Member) -> Result<(), ArchiveError> {
    let map = member
        .segments
        .as_ref()
        .map(|segments| sparse_map(segments));
    let stored = member.data() + map.as_ref().map_or(0, |map| map.len() as u64);
    let records = records(member, stored);
    if records.len() > MAX_EXTENDED {
        return Err(ArchiveError::TooLarge("an extended header"));
    }
    if !records.is_empty() {
        let header = header(b"pax", b'x', 0o644, 0, 0, records.len() as u64, 0, member);
        out.write_all(&header)?;
        out.write_all(&records)?;
        out.write_all(padding(records.len() as u64))?;
    }
    // What does not fit stands above; a reader that knows no pax gets as much as there is room.
    let path = match map {
        Some(_) => [b"GNUSparseFile.0/", base(&member.path)].concat(),
        None => member.path.clone(),
    };
    let seconds = u64::try_from(member.modified.0).unwrap_or(0);
    out.write_all(&header(
        &path,
        member.kind.letter(),
        member.mode,
        u64::from(member.uid),
        u64::from(member.gid),
        stored,
        seconds,
        member,
    ))?;
    if let Some(map) = map {
        out.write_all(&map)?;
    }
    Ok(())
}

/// The zeros that fill the last block of so many bytes.
pub fn padding(bytes: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    &ZEROS[..(BLOCK - (bytes % BLOCK as u64) as usize) % BLOCK]
}

/// Writes the end of the stream.
///
/// # Errors
/// What writing says.
pub fn end(out: &mut impl Write) -> Result<(), ArchiveError> {
    Ok(out.write_all(&[0; 2 * BLOCK])?)
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// GNU's format 1.0: the number of segments, then each one's offset and length, in decimal, a
/// line each, filled to a block. It lies before the data and counts as part of it.
fn sparse_map(segments: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for (offset, length) in segments {
        map += &format!("{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.extend_from_slice(padding(map.len() as u64));
    map
}

/// The records of the extended header: what ustar cannot say.
fn records(member: &Member, stored: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| record(&mut out, key, value);
    let (seconds, nanoseconds) = member.modified;
    if nanoseconds != 0 || !(0..1 << 33).contains(&seconds) {
        put(b"mtime", timestamp(seconds, nanoseconds).as_bytes());
    }
    if member.segments.is_some() {
        put(b"GNU.sparse.major", b"1");
        put(b"GNU.sparse.minor", b"0");
        put(b"GNU.sparse.name", &member.path);
        put(b"GNU.sparse.realsize", member.size.to_string().as_bytes());
    } else if member.path.len() > 100 || !member.path.is_ascii() {
        put(b"path", &member.path);
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
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// ustar's block (pax, "ustar Header Block").
#[allow(clippy::too_many_arguments)]
fn header(
    path: &[u8],
    letter: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    modified: u64,
    member: &Member,
) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (linked, device) = match letter {
        b'x' => (&b""[..], (0, 0)),
        _ => (&member.target[..], member.device),
    };
    put_bytes(&mut block[..100], path);
    put_octal(&mut block[100..108], u64::from(mode));
    put_octal(&mut block[108..116], uid);
    put_octal(&mut block[116..124], gid);
    put_octal(&mut block[124..136], size);
    put_octal(&mut block[136..148], modified);
    block[148..156].fill(b' ');
    block[156] = letter;
    put_bytes(&mut block[157..257], linked);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], u64::from(device.0));
    put_octal(&mut block[337..345], u64::from(device.1));
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put_octal(&mut block[148..155], sum);
    block
}

fn put_bytes(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits and a NUL; the largest that fits, where a number does not.
fn put_octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let most = (1_u64 << (3 * digits.min(20))) - 1;
    let text = format!("{:0digits$o}", number.min(most));
    put_bytes(field, text.as_bytes());
}
