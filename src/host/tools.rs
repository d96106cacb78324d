//! Programs of this host that can run in the appliance, with their loader and their libraries.

#![allow(clippy::disallowed_methods)]

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::linux::elf;

/// Searched after PATH, in which users often have no programs of the administrator.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// The longest path of a loader, in bytes.
const LONGEST: u64 = 4096;

/// A program, and what it needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub program: PathBuf,
    /// `None` if it is linked statically.
    pub loader: Option<PathBuf>,
    pub libraries: Vec<PathBuf>,
}

/// A program by its name.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    let mut files = directories.map(|directory| directory.join(name));
    files.find(|file| {
        let found = file.metadata();
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

impl Tool {
    /// What `program` needs; its loader is asked for the libraries.
    pub fn of(program: &Path) -> io::Result<Self> {
        let loader = interpreter(&File::open(program)?)?;
        let libraries = match &loader {
            None => Vec::new(),
            Some(loader) => {
                let listed = Command::new(loader)
                    .arg("--list")
                    .arg(program)
                    .stdin(Stdio::null())
                    .output()?;
                let said = String::from_utf8_lossy(&listed.stdout);
                if !listed.status.success() {
                    return Err(io::Error::other("its loader does not list its libraries"));
                }
                libraries(&said)?
            }
        };
        Ok(Self {
            program: program.to_owned(),
            loader,
            libraries,
        })
    }

    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let loader = self.loader.iter();
        loader.chain(&self.libraries).chain([&self.program])
    }
}

/// The path in PT_INTERP.
fn interpreter(program: &File) -> io::Result<Option<PathBuf>> {
    let mut header = [0; elf::HEADER_LENGTH];
    program.read_exact_at(&mut header, 0)?;
    let not_elf = || io::Error::new(io::ErrorKind::InvalidData, "not an ELF program of 64 bits");
    let header = elf::Header::of(&header).ok_or_else(not_elf)?;
    let mut table = vec![0; header.table_length];
    program.read_exact_at(&mut table, header.table_at)?;
    let Some(segment) = elf::segments(&table).find(|one| one.kind == elf::PT_INTERP) else {
        return Ok(None);
    };
    let mut path = vec![0; segment.size.min(LONGEST) as usize];
    program.read_exact_at(&mut path, segment.offset)?;
    path.retain(|byte| *byte != 0);
    let path = String::from_utf8(path).map_err(|_| not_elf())?;
    Ok(Some(path.into()))
}

/// The files in what ld.so(8) prints with --list: `NAME => PATH (ADDRESS)`.
fn libraries(listed: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let Some((name, place)) = line.split_once("=>") else {
            continue;
        };
        let place = place.trim();
        let path = place.rsplit_once(" (").map_or(place, |(path, _)| path);
        if !path.starts_with('/') {
            let what = format!("its library {} is missing", name.trim());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        found.push(path.into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_files_that_the_loader_lists() {
        let listed = "\tlinux-vdso.so.1 (0x00007f78d7fba000)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f78d7c9b000)\n\
                      \tlibx.so => /opt/a (b)/libx.so (0x1)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f78d7fbc000)\n";
        let wanted = ["/lib/x86_64-linux-gnu/libc.so.6", "/opt/a (b)/libx.so"];
        assert_eq!(libraries(listed).unwrap(), wanted.map(PathBuf::from));
        let missing = libraries("\tliby.so => not found\n").unwrap_err();
        assert_eq!(missing.to_string(), "its library liby.so is missing");
        assert_eq!(
            libraries("\tstatically linked\n").unwrap(),
            [] as [PathBuf; 0]
        );
    }
}
