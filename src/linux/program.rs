//! What execve(2) opens to start a program: the file itself, and the interpreters that it names.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::elf::{HEADER_LENGTH, Header, PT_INTERP, segments};

/// How deep interpreters may be: a script that a script interprets, and the loader of that.
const MAX_DEPTH: usize = 4;
/// The kernel reads this much of a script (BINPRM_BUF_SIZE).
const HEAD: usize = 256;
/// The longest name of a loader that is read, in bytes.
const MAX_NAME: u64 = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The file, with links resolved.
    pub path: PathBuf,
    /// Its interpreter, the interpreter of that, and so on.
    pub interpreters: Vec<PathBuf>,
    /// It is a script, which may start anything.
    pub is_script: bool,
}

impl Program {
    /// What cannot be read has no interpreter.
    pub fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut interpreters = Vec::new();
        let mut next = interpreter(&path);
        let is_script = matches!(next, Some((_, true)));
        while let Some((found, _)) = next.filter(|_| interpreters.len() < MAX_DEPTH) {
            next = interpreter(&found);
            interpreters.push(found);
        }
        Self {
            path,
            interpreters,
            is_script,
        }
    }
}

/// The interpreter of a file, and whether the file is a script.
fn interpreter(path: &Path) -> Option<(PathBuf, bool)> {
    let file = File::open(path).ok()?;
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(line).map(|path| (path, true));
    }
    let header = Header::of(head.get(..HEADER_LENGTH)?)?;
    let mut table = vec![0; header.table_length];
    file.read_exact_at(&mut table, header.table_at).ok()?;
    let segment = segments(&table).find(|segment| segment.kind == PT_INTERP)?;
    let mut name = vec![0; segment.size.min(MAX_NAME) as usize];
    file.read_exact_at(&mut name, segment.offset).ok()?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((path_of(name), false))
}

/// The first word of a script's first line.
fn script(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    words.find(|word| !word.is_empty()).map(path_of)
}

fn path_of(name: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_its_shell_and_the_loader_of_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wrapper");
        std::fs::write(&path, "#! /bin/sh -e\nexec true\n").unwrap();
        let program = Program::of(&path);
        assert!(program.is_script);
        assert_eq!(program.interpreters[0], Path::new("/bin/sh"));
        assert!(program.interpreters[1].to_str().unwrap().contains("ld-"));
        assert_eq!(program.interpreters.len(), 2);
    }

    #[test]
    fn a_program_needs_its_loader_and_other_files_nothing() {
        let shell = Program::of(Path::new("/bin/sh"));
        assert!(!shell.is_script && shell.interpreters.len() == 1);
        let text = Program::of(Path::new("/etc/passwd"));
        assert!(text.interpreters.is_empty());
        assert_eq!(script(b"\n"), None);
    }
}
