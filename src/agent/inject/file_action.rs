//! The changes that injection makes to an image, one file each.

use std::path::PathBuf;

pub(crate) const PROGRAM: &str = "/etc/bivouac/bivouac-agent";

/// A file to write. A label is for SELinux; without one the file gets its directory's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileAction {
    Program {
        label: Option<Vec<u8>>,
    },
    Text {
        path: String,
        mode: u32,
        text: String,
        label: Option<Vec<u8>>,
    },
    Link {
        path: String,
        target: String,
    },
    /// A file of the appliance, which everybody may read.
    Copy {
        path: String,
        from: PathBuf,
    },
    /// Appends a line, with its newline, to a file of the image.
    Line {
        path: String,
        text: String,
    },
}

impl FileAction {
    /// A text file that everybody may read.
    pub(crate) fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Text {
            path: path.into(),
            mode: 0o644,
            text: text.into(),
            label: None,
        }
    }

    pub(crate) fn link(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::Link {
            path: path.into(),
            target: target.into(),
        }
    }

    /// The path from the image's root.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Program { .. } => PROGRAM,
            Self::Text { path, .. }
            | Self::Link { path, .. }
            | Self::Copy { path, .. }
            | Self::Line { path, .. } => path,
        }
    }
}
