//! The file of the guest's memory, and how QEMU comes to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::plan::{MemoryMapping, Plan};
use crate::sys::{Confinement, OpenAnswers, can_answer_opens};

impl MemoryMapping {
    /// The best mapping for a clone that QEMU of this version (major, minor) and this host support, of a file
    /// that could be written to.
    pub fn for_clone(version: (u64, u64)) -> Self {
        match Self::for_sealed(version) {
            Self::CopyOnWrite if can_answer_opens() => Self::CopyOnWriteAnswered,
            mapping => mapping,
        }
    }

    /// The same for a file that is sealed.
    pub fn for_sealed((major, minor): (u64, u64)) -> Self {
        match (major, minor) >= (8, 2) {
            true => Self::CopyOnWriteReadOnly,
            false => Self::CopyOnWrite,
        }
    }
}

/// The file of the guest's memory, among `files`.
pub(super) fn memory_of(plan: &Plan, files: &[BorrowedFd<'_>]) -> io::Result<Option<File>> {
    let number = plan.snapshot.map(|snapshot| snapshot.memory.0);
    let found = files.iter().find(|file| Some(file.as_raw_fd()) == number);
    let copied = found.map(|file| file.try_clone_to_owned()).transpose()?;
    Ok(copied.map(File::from))
}

/// For a QEMU that must not open its memory's file itself.
pub(super) fn answers_for(
    plan: &Plan,
    confinement: &mut Confinement,
) -> io::Result<Option<OpenAnswers>> {
    let mapping = plan.snapshot.map(|snapshot| snapshot.mapping);
    if mapping != Some(MemoryMapping::CopyOnWriteAnswered) {
        return Ok(None);
    }
    let (answers, theirs) = OpenAnswers::new()?;
    confinement.answered = Some(theirs);
    Ok(Some(answers))
}
