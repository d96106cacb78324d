//! What a packed file holds: one image that is compressed, or the disks in an archive, each copied.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::job::{Job, UnpackError};
use super::ova;
use crate::image::open_image::UnpackedCopy;
use crate::image::packed;
use crate::linux::file_id::FileStamp;
use crate::package::decompressed;

#[derive(Debug)]
pub struct Unpacked {
    /// None if the archive does not describe a machine.
    pub copies: Vec<UnpackedCopy>,
    /// What the image was compressed with, if it is a single one.
    pub how: Option<&'static str>,
}

impl Unpacked {
    /// Copies what the file holds: one image, or those of an archive.
    pub fn of(job: &Job) -> Result<Self, UnpackError> {
        let stamp = FileStamp::of(job.original)?;
        let (mut how, mut content, mut limit) = (None, job.original.try_clone()?, job.limit);
        content.rewind()?;
        if let Some((kind, from)) = decompressed(job.original)? {
            let to = job.new_file()?;
            let length = job.copy(from, &to, limit)?;
            (how, content, limit) = (Some(kind), to, limit - length);
        }
        let mut copies = Vec::new();
        let is_archive = packed::tar(&head(&content));
        if is_archive && let Some(disks) = ova::disks(&content, job)? {
            how = None;
            for (name, file) in ova::copies(&content, disks, limit, job)? {
                let path = job.path.join(&name);
                copies.push(result(job, file, stamp, path, name)?);
            }
        } else if how.is_some() {
            let name = job.path.with_extension("");
            copies.push(result(job, content, stamp, job.path.to_owned(), name)?);
        }
        match FileStamp::of(job.original)? == stamp {
            true => Ok(Self { copies, how }),
            false => Err(UnpackError::Changed),
        }
    }
}

fn result(
    job: &Job,
    file: File,
    stamp: FileStamp,
    path: PathBuf,
    name: PathBuf,
) -> io::Result<UnpackedCopy> {
    Ok(UnpackedCopy {
        file,
        original: job.original.try_clone()?,
        stamp,
        path: std::path::absolute(&path)?,
        name,
        hint: hint(job.original, job.path).unwrap_or_default(),
    })
}

/// The command that unpacks the file at `path`.
pub fn hint(file: &File, path: &Path) -> Option<String> {
    Some(packed::recognised(&head(file))?.hint(path))
}

fn head(file: &File) -> Vec<u8> {
    let mut head = vec![0; 512];
    let length = file.read_at(&mut head, 0).unwrap_or(0);
    head.truncate(length);
    head
}
