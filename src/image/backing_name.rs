//! Backing names: the path that a recorded name stands for, as QEMU reads it, for plain files only.
//!
//! Purely lexical: no file is opened and no symbolic link resolved.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a json: name can open any file or network address of the host")]
    Json,
    #[error("it goes through the protocol {0:?}; only local files are layers")]
    Protocol(String),
    #[error("a relative name after file: depends on QEMU's working directory")]
    RelativeFile,
}

/// The path that `name`, recorded in the header of `layer`, stands for.
///
/// A relative name is resolved against the directory of `layer` as its path is spelled:
/// QEMU does so (path_combine), and a symbolic link to a layer is not followed for it.
pub fn resolve(layer: &Path, name: &[u8]) -> Result<PathBuf, NameError> {
    if name.starts_with(b"json:") {
        return Err(NameError::Json);
    }
    // QEMU's path_has_protocol: a colon that comes before any slash.
    let path = match name.iter().position(|byte| matches!(byte, b':' | b'/')) {
        Some(at) if name[at] == b':' => {
            let (protocol, rest) = (&name[..at], &name[at + 1..]);
            if protocol != b"file" {
                let protocol = String::from_utf8_lossy(&protocol[..at.min(40)]);
                return Err(NameError::Protocol(protocol.into_owned()));
            }
            if !rest.starts_with(b"/") {
                return Err(NameError::RelativeFile);
            }
            rest
        }
        _ => name,
    };
    let directory = layer.parent().unwrap_or(Path::new("/"));
    Ok(directory.join(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str) -> Result<PathBuf, NameError> {
        resolve(Path::new("/a/link/top.qcow2"), name.as_bytes())
    }

    #[test]
    fn relative_names_start_at_the_directory_of_the_layer_as_it_is_spelled() {
        assert_eq!(resolved("base.raw"), Ok("/a/link/base.raw".into()));
        assert_eq!(resolved("../base.raw"), Ok("/a/link/../base.raw".into()));
        assert_eq!(resolved("/b/base.raw"), Ok("/b/base.raw".into()));
    }

    #[test]
    fn a_colon_behind_a_slash_is_part_of_a_plain_name() {
        assert_eq!(resolved("./a:b"), Ok("/a/link/./a:b".into()));
        assert_eq!(resolved("/x/nbd:y"), Ok("/x/nbd:y".into()));
        assert_eq!(resolved("a:b"), Err(NameError::Protocol("a".into())));
    }

    #[test]
    fn a_file_prefix_is_stripped_from_absolute_names_only() {
        assert_eq!(resolved("file:/b/base"), Ok("/b/base".into()));
        assert_eq!(resolved("file:///b/base"), Ok("///b/base".into()));
        assert_eq!(resolved("file:base"), Err(NameError::RelativeFile));
    }

    #[test]
    fn protocols_and_json_are_refused() {
        for name in [
            "nbd://h/x",
            "http://h/x",
            "ssh://h/x",
            "rbd:pool/x",
            "host_device:/dev/sda",
        ] {
            assert!(
                matches!(resolved(name), Err(NameError::Protocol(_))),
                "{name}"
            );
        }
        assert_eq!(resolved("json:{\"driver\":\"nbd\"}"), Err(NameError::Json));
    }
}
