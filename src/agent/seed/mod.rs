//! Seeding: this program is put into a root that is mounted, and the image's own init is told
//! to start it. The image is hostile: it is looked at and written to below its root only, and no
//! link of its leads out.
//!
//! [`image`] is the root, [`plan`] decides what to write without writing, by what [`init`] it
//! finds, and [`cloud`] keeps cloud-init from waiting for a network.
//!
//! # Where the program goes, and why
//!
//! Into `/etc/bivouac`. What starts it must be written to `/etc` in any case, so this asks for
//! nothing more: `/usr` may be a read-only file system of its own, `/var`, `/opt` and `/srv` may
//! be mounted late, or without the right to execute, and `/run` is gone when the image boots.

mod cloud;
mod image;
mod init;
mod plan;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use crate::guest::wire::seed::{Seeding, Stage};
use crate::guest::wire::{ErrorStage, RemoteError};
use image::Image;
use plan::Piece;

/// The program's place in an image.
pub const PROGRAM: &str = "/etc/bivouac/bivouac-agent";

/// Puts this very program into the root at `at`.
///
/// # Errors
/// Nothing there could start it, or it cannot be written to.
pub fn seed(at: &Path, stage: Stage) -> Result<Seeding, RemoteError> {
    let program = File::open("/proc/self/exe").map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        RemoteError::of(ErrorStage::Process, "this program", errno)
    })?;
    into(&Image::at(at)?, &program, stage)
}

/// [`seed`] with another program.
fn into(image: &Image, program: &File, stage: Stage) -> Result<Seeding, RemoteError> {
    let plan = plan::plan(image, program, stage)?;
    let mut written = Vec::new();
    for piece in &plan.pieces {
        put(image, program, piece)
            .map_err(|errno| RemoteError::of(ErrorStage::File, piece.path(), errno as i32))?;
        written.push(piece.path().to_owned());
    }
    Ok(Seeding {
        init: plan.init,
        labelled: plan.labelled,
        cloud_init: plan.cloud_init,
        written,
    })
}

fn put(image: &Image, program: &File, piece: &Piece) -> Result<(), nix::errno::Errno> {
    match piece {
        Piece::Program { path, label } => {
            // A copy of the descriptor's place in the file would be shared.
            let program = program.try_clone().map_err(|error| image::errno(&error))?;
            image.file(path, 0o755, program, label.as_deref())
        }
        Piece::Text {
            path,
            mode,
            text,
            label,
        } => image.file(path, *mode, text.as_bytes(), label.as_deref()),
        Piece::Link { path, target } => image.link(path, target),
        Piece::Line { path, text } => image.append(path, text),
    }
}
