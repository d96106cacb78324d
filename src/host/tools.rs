//! Programs of this host that can run in the appliance, with their loader and their libraries.

#![allow(clippy::disallowed_methods)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::programs;
use crate::linux::program::Program;

/// Searched after PATH, in which users often have no programs of the administrator.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A program, and what it needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub program: PathBuf,
    pub loader: PathBuf,
    pub libraries: Vec<PathBuf>,
}

/// A program by its name.
pub fn find(name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    programs::find(name).or_else(|| programs::find_in(name, SBIN.as_ref()))
}

impl Tool {
    /// What `program` needs; its loader is asked for the libraries.
    pub fn of(program: &Path) -> io::Result<Self> {
        let found = Program::of(program);
        let Some(loader) = found.interpreters.first().filter(|_| !found.is_script) else {
            return Err(io::Error::other("it has no loader"));
        };
        let listed = Command::new(loader)
            .arg("--list")
            .arg(program)
            .stdin(Stdio::null())
            .output()?;
        if !listed.status.success() {
            return Err(io::Error::other("its loader does not list its libraries"));
        }
        Ok(Self {
            program: program.to_owned(),
            loader: loader.clone(),
            libraries: libraries(&String::from_utf8_lossy(&listed.stdout))?,
        })
    }

    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let others = self.libraries.iter().chain([&self.program]);
        std::iter::once(&self.loader).chain(others)
    }
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
