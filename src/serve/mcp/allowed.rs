//! Which images a client may start machines from: those of the command line, and nothing that a name
//! or a link leads to besides.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::launch::Failure;
use crate::rpc::{ErrorKind, RpcError};

/// How many files are listed, and how deep directories are entered for it.
const MAX_LISTED: usize = 1000;
const MAX_DEPTH: usize = 8;

/// Images and directories, as their real paths.
#[derive(Debug)]
pub(super) struct Allowed(Vec<PathBuf>);

impl Allowed {
    /// Resolves what was typed. It is an error if any of it is missing.
    pub fn new(paths: &[PathBuf]) -> Result<Self, Failure> {
        let resolve = |path: &PathBuf| {
            let real = path.canonicalize();
            real.with_context(|| format!("cannot find {path:?}"))
        };
        let real: anyhow::Result<_> = paths.iter().map(resolve).collect();
        Ok(Self(real?))
    }

    /// The real path of the image that a client names, if that is allowed. A relative name is one in
    /// an allowed directory, or the file name of an allowed image.
    pub fn find(&self, name: &str) -> Result<PathBuf, RpcError> {
        let candidates = self.0.iter().map(|allowed| match allowed.is_dir() {
            true => allowed.join(name),
            false if allowed.file_name().is_some_and(|file| file == name) => allowed.clone(),
            false => PathBuf::from(name),
        });
        for candidate in candidates.filter(|path| path.is_absolute()) {
            let Ok(real) = candidate.canonicalize() else {
                continue;
            };
            // A link may have led out of the directory.
            if self.0.iter().any(|allowed| real.starts_with(allowed)) && !real.is_dir() {
                return Ok(real);
            }
        }
        let short: String = name.chars().take(200).collect();
        // Whether there is such a file elsewhere is none of the client's business.
        let why = format!("no image {short:?} is allowed");
        Err(RpcError::new(ErrorKind::Refused, why)
            .hint("images lists those that are; the command line of `bivouac mcp` decides"))
    }

    /// The images: those that were named, and the files in the directories.
    pub fn list(&self) -> Result<Vec<(PathBuf, u64)>, Failure> {
        let mut found = Vec::new();
        for path in &self.0 {
            let listed = list(path, MAX_DEPTH, &mut found);
            listed.map_err(|error| anyhow!(error).context(format!("cannot list {path:?}")))?;
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

/// Adds a file, or the files below a directory. Links and hidden files are left out.
fn list(path: &Path, depth: usize, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        if !metadata.is_symlink() && found.len() < MAX_LISTED {
            found.push((path.to_owned(), metadata.len()));
        }
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            // What this process may not read it cannot start either.
            let _ = list(&entry.path(), depth - 1, found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_allowed_is_found_and_no_name_or_link_leads_out_of_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for directory in ["images/sub", "secret"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["images/a.raw", "images/sub/b.raw", "secret/key", "one.raw"] {
            fs::write(root.join(file), file).unwrap();
        }
        symlink("../secret/key", root.join("images/link")).unwrap();
        symlink("../secret", root.join("images/dir")).unwrap();
        symlink("a.raw", root.join("images/latest")).unwrap();
        let allowed = Allowed::new(&[root.join("images"), root.join("one.raw")]).unwrap();
        for (name, file) in [
            ("a.raw", "images/a.raw"),
            ("sub/b.raw", "images/sub/b.raw"),
            ("sub/../a.raw", "images/a.raw"),
            ("latest", "images/a.raw"),
            ("one.raw", "one.raw"),
        ] {
            assert_eq!(allowed.find(name).unwrap(), root.join(file), "{name}");
            let absolute = root.join(file).display().to_string();
            assert_eq!(allowed.find(&absolute).unwrap(), root.join(file));
        }
        let outside = root.join("secret/key").display().to_string();
        for name in [
            "link",
            "dir/key",
            "../secret/key",
            "../one.raw.not",
            "",
            ".",
            "sub",
            "/",
            "/etc/passwd",
            &outside,
            "a.raw/",
            "images/a.raw",
            "nothing",
        ] {
            let error = allowed.find(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{name}");
        }
        // Of two that are allowed, one may be reached from the other.
        assert_eq!(allowed.find("../one.raw").unwrap(), root.join("one.raw"));
        let listed: Vec<_> = allowed
            .list()
            .unwrap()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        let files = ["images/a.raw", "images/sub/b.raw", "one.raw"];
        assert_eq!(listed, files.map(|file| root.join(file)));
        assert!(Allowed::new(&[root.join("nothing")]).is_err());
    }
}
