//! The disks in an OVA: a tar archive with the descriptor of a machine and the images of its disks. Names
//! in either lead to files of the archive and nowhere else.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::job::{Job, UnpackError};
use crate::archive::{ArchiveError, Kind, Member, Reader};
use crate::image::ovf::{self, DiskContent};
use crate::package::decompressed;
use crate::text::escape::as_path;

/// How much of a member shows whether it is compressed, in bytes.
const HEAD: u64 = 512;

/// The data of a tar archive's current member.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

/// The disks, by the paths of their files in the archive. None if no descriptor is in it.
pub fn disks(archive: &File, job: &Job) -> Result<Option<Vec<DiskContent>>, UnpackError> {
    let mut reader = reader(archive, job)?;
    while let Some(member) = next(&mut reader)? {
        let path = as_path(name(&member));
        let is_descriptor = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("ovf"));
        if !is_descriptor || member.kind != Kind::File || member.segments.is_some() {
            continue;
        }
        let mut text = String::new();
        let read = Data(&mut reader)
            .take(ovf::LARGEST)
            .read_to_string(&mut text);
        if member.size > ovf::LARGEST || read.is_err() {
            return Err(UnpackError::NoText);
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let disks = ovf::disks(&text)?.into_iter().map(|disk| match disk {
            DiskContent::File(name) => {
                DiskContent::File(directory.join(name).to_string_lossy().into_owned())
            }
            empty => empty,
        });
        return Ok(Some(disks.collect()));
    }
    Ok(None)
}

/// A copy of each disk, with the name of its file, in the order of `disks`.
pub fn copies(
    archive: &File,
    disks: Vec<DiskContent>,
    mut limit: u64,
    job: &Job,
) -> Result<Vec<(PathBuf, File)>, UnpackError> {
    let mut copies: Vec<Option<File>> = Vec::new();
    for disk in &disks {
        copies.push(match disk {
            DiskContent::File(_) => None,
            DiskContent::Empty(bytes) => {
                let file = job.new_file()?;
                file.set_len(*bytes)?;
                Some(file)
            }
        });
    }
    let mut reader = reader(archive, job)?;
    while copies.iter().any(Option::is_none) {
        let Some(member) = next(&mut reader)? else {
            break;
        };
        let is_it = |disk: &DiskContent| match disk {
            DiskContent::File(wanted) => is_named(&member, wanted),
            DiskContent::Empty(_) => false,
        };
        let Some(at) = disks
            .iter()
            .position(is_it)
            .filter(|at| copies[*at].is_none())
        else {
            continue;
        };
        if member.kind != Kind::File {
            let name = String::from_utf8_lossy(name(&member)).into_owned();
            return Err(UnpackError::NoFile(name));
        }
        let to = job.new_file()?;
        limit -= copy(&mut reader, &member, &to, limit, job)?;
        copies[at] = Some(to);
    }
    let named = disks.into_iter().zip(copies).enumerate();
    let named = named.map(|(at, (disk, copy))| match (disk, copy) {
        (DiskContent::File(name), Some(copy)) => Ok((name.into(), copy)),
        (DiskContent::Empty(_), Some(copy)) => Ok((format!("empty-disk{at}").into(), copy)),
        (DiskContent::File(name), None) => Err(UnpackError::Missing(name)),
        (DiskContent::Empty(_), None) => Err(UnpackError::Missing(String::new())),
    });
    named.collect()
}

/// Copies the data of the current member, decompressed if it is compressed. Returns how many bytes.
fn copy(
    reader: &mut Reader<impl Read + Send>,
    member: &Member,
    to: &File,
    limit: u64,
    job: &Job,
) -> Result<u64, UnpackError> {
    if let Some(segments) = &member.segments {
        if member.size > limit {
            return Err(UnpackError::TooLarge);
        }
        let mut file = to;
        for (offset, length) in segments {
            file.seek(SeekFrom::Start(*offset))?;
            job.copy(Data(reader).take(*length), to, *length)?;
        }
        to.set_len(member.size)?;
        return Ok(member.size);
    }
    let mut head = Vec::new();
    Data(reader).take(HEAD).read_to_end(&mut head)?;
    let whole = head.chain(Data(reader));
    match decompressed(&head[..]).is_ok_and(|found| found.is_some()) {
        true => match decompressed(whole)? {
            Some((_, data)) => job.copy(data, to, limit),
            None => Ok(0),
        },
        false => job.copy(whole, to, limit),
    }
}

/// The archive from its start, as long as somebody waits for what is in it.
struct Content<'a, 'j> {
    file: BufReader<&'a File>,
    job: &'a Job<'j>,
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.job.is_wanted)() {
            true => self.file.read(buffer),
            false => Err(io::Error::other("nobody waits for it")),
        }
    }
}

fn reader<'a, 'j>(archive: &'a File, job: &'a Job<'j>) -> io::Result<Reader<Content<'a, 'j>>> {
    let mut file = archive;
    file.rewind()?;
    let file = BufReader::with_capacity(1 << 16, file);
    Ok(Reader::new(Content { file, job }))
}

/// The next member. None at the end, even if that is not marked.
fn next<R: Read>(reader: &mut Reader<R>) -> Result<Option<Member>, ArchiveError> {
    match reader.next() {
        Err(ArchiveError::Truncated) => Ok(None),
        other => other,
    }
}

/// Its path without what means nothing in it.
fn name(member: &Member) -> &[u8] {
    let mut name = &member.path[..];
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    name
}

/// Whether a descriptor means it by `wanted`: a relative URI, in which characters may be escaped.
fn is_named(member: &Member, wanted: &str) -> bool {
    let name = name(member);
    let mut unescaped = Vec::new();
    let mut rest = wanted.as_bytes();
    while let [byte, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        unescaped.push(value.unwrap_or(*byte));
        rest = if value.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    name == wanted.as_bytes() || name == unescaped
}
