//! What a guest has changed on its disks.

use crate::commands::diff::overlays::diff_overlays;
use crate::commands::diff::{self, DiffOptions, FileState};
use crate::launch::{Failure, LiveVm, Quiet, VmSpec};
use crate::protocol::FileKind;
use crate::rpc::changes::{Change, ChangedFile, DiffResult};
use crate::rpc::files::FileType;
use crate::rpc::{Data, MAX_DATA};

/// Compares the disks of a machine with what they were when it was started, or saved last. It stands
/// still meanwhile.
pub(super) async fn compare(
    live: &mut LiveVm,
    spec: &VmSpec,
    options: DiffOptions,
    limit: usize,
) -> Result<DiffResult, Failure> {
    let (mut result, mut weight) = (DiffResult::default(), 0);
    let mut sink = async |change: diff::Change| {
        weight += change.path.0.len() + change.diff.as_ref().map_or(0, String::len);
        match result.changes.len() < limit && weight as u64 <= MAX_DATA {
            true => result.changes.push(converted(change)),
            false => result.truncated = true,
        }
        Ok(())
    };
    let summary = live
        .stand_still(async |_, vm| {
            let accelerator = vm.plan.accelerator;
            Box::pin(diff_overlays(
                spec,
                &vm.drives,
                accelerator,
                options,
                &Quiet,
                &mut sink,
            ))
            .await
        })
        .await?;
    (result.left_out, result.unread) = (summary.left_out, summary.unread);
    Ok(result)
}

fn converted(change: diff::Change) -> Change {
    Change {
        filesystem: change.filesystem,
        path: change.path.0.into(),
        change: change.change,
        what: change.what,
        before: change.before.map(file),
        after: change.after.map(file),
        diff: change.diff,
    }
}

fn file(state: FileState) -> ChangedFile {
    ChangedFile {
        kind: state.kind.map(file_type),
        mode: state.mode,
        uid: state.uid,
        gid: state.gid,
        size: state.size,
        mtime: state.modified,
        link: state.target.map(|target| Data::from(target.0)),
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::File,
        FileKind::Directory => FileType::Directory,
        FileKind::Link => FileType::Link,
        FileKind::Block => FileType::Block,
        FileKind::Character => FileType::Character,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::Other => FileType::Other,
    }
}
