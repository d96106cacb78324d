//! What is to be written into an image, decided by looking at it. Writes nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::image::Image;
use super::{PROGRAM, cloud, init};
use crate::guest::wire::seed::{Init, Stage};
use crate::guest::wire::{ErrorStage, RemoteError};

/// Everything that is to be written.
#[derive(Debug)]
pub struct Plan {
    /// What will start the agent.
    pub init: Init,
    /// The image is labelled by SELinux.
    pub labelled: bool,
    /// cloud-init is dealt with.
    pub cloud_init: bool,
    /// In the order of writing.
    pub pieces: Vec<Piece>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The agent.
    Program {
        /// Where.
        path: String,
        /// Its label, where its directory's will not do.
        label: Option<Vec<u8>>,
    },
    /// A text of ours.
    Text {
        /// Where.
        path: String,
        /// Its permissions.
        mode: u32,
        /// What it says.
        text: String,
        /// Its label, where its directory's will not do.
        label: Option<Vec<u8>>,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: String,
        /// And where it leads.
        target: String,
    },
    /// A line at the end of a file of the image's.
    Line {
        /// Which.
        path: String,
        /// The line, with its end.
        text: String,
    },
}

impl Piece {
    /// A text that anybody may read.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Text {
            path: path.into(),
            mode: 0o644,
            text: text.into(),
            label: None,
        }
    }

    /// A symbolic link.
    pub fn link(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::Link {
            path: path.into(),
            target: target.into(),
        }
    }

    /// From the image's root.
    pub fn path(&self) -> &str {
        match self {
            Self::Program { path, .. }
            | Self::Text { path, .. }
            | Self::Link { path, .. }
            | Self::Line { path, .. } => path,
        }
    }
}

/// Programs that have the label of ordinary programs.
const ORDINARY: [&str; 4] = ["/usr/bin/env", "/usr/bin/ls", "/bin/ls", "/usr/bin/true"];

/// Decides.
///
/// # Errors
/// Nothing in the image could start `program`, with [`ErrorStage::Seed`].
pub fn plan(image: &Image, program: &File, stage: Stage) -> Result<Plan, RemoteError> {
    let none = |text| Err(RemoteError::new(ErrorStage::Seed, text));
    let Some(init) = init::find(image) else {
        return none("no init that bivouac knows (systemd, OpenRC, sysvinit, BusyBox)");
    };
    let machines = machine_of(image).zip(machine(program));
    if machines.is_some_and(|(theirs, ours)| theirs != ours) {
        return none("its programs are for another CPU");
    }
    let ordinary = ORDINARY.iter().find_map(|path| image.label(path));
    let labelled = ordinary.is_some();
    let mut pieces = vec![Piece::Program {
        path: PROGRAM.to_owned(),
        label: ordinary,
    }];
    pieces.extend(init::pieces(image, init, stage));
    let cloud = cloud::pieces(image);
    let cloud_init = !cloud.is_empty();
    pieces.extend(cloud);
    Ok(Plan {
        init,
        labelled,
        cloud_init,
        pieces,
    })
}

/// An ELF program's class and machine (elf(5)): a kernel of 32 bits runs none of 64.
fn elf(head: &[u8; 20]) -> Option<(u8, [u8; 2])> {
    head.starts_with(b"\x7fELF")
        .then(|| (head[4], [head[18], head[19]]))
}

fn machine(program: &File) -> Option<(u8, [u8; 2])> {
    let mut head = [0; 20];
    program.read_exact_at(&mut head, 0).ok()?;
    elf(&head)
}

fn machine_of(image: &Image) -> Option<(u8, [u8; 2])> {
    ["/sbin/init", "/bin/sh"]
        .iter()
        .find_map(|path| elf(&image.head(path)?))
}
