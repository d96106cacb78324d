//! Block jobs: QEMU copies what is on a machine's disks, of whatever format their layers are.
//!
//! QEMU could also merge a machine's overlays, by a job of the sort `stream`, but QEMU 7.2 dies of that
//! where they have subclusters.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blockdev::overlay_node;
use super::plan::ChildFd;
use super::{Machine, StartError};
use crate::text::escape::Untrusted;

/// The id of the job, and of the node that it writes.
const JOB: &str = "keep";

/// How often the job's state is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Qemu(#[from] StartError),
    #[error("QEMU could not copy {disk}: {}", Untrusted(why))]
    Failed { disk: String, why: String },
}

/// Defines a command of QMP by its name and the type of its result. Not those of qapi: they require
/// fields that only some versions of QEMU have.
macro_rules! commands {
    ($($command:ident $name:literal $ok:ty,)*) => {$(
        #[derive(Clone, Debug, Serialize)]
        struct $command(Value);

        impl qapi::Command for $command {
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
            type Ok = $ok;
        }
    )*};
}

commands! {
    AddFd "add-fd" FdSet,
    RemoveFd "remove-fd" Value,
    BlockdevAdd "blockdev-add" Value,
    BlockdevDel "blockdev-del" Value,
    BlockdevBackup "blockdev-backup" Value,
    QueryJobs "query-jobs" Vec<Job>,
    JobDismiss "job-dismiss" Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FdSet {
    fdset_id: i32,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    status: String,
    error: Option<String>,
}

impl Machine {
    /// Copies all of `disk` to `target`, an empty qcow2 image of its size.
    pub async fn copy_disk(&mut self, disk: &str, target: OwnedFd) -> Result<(), JobError> {
        let added = self.execute_with(AddFd(json!({})), Some(target)).await?;
        let node = overlay_node(JOB, ChildFd(added.fdset_id), Value::Null);
        self.execute(BlockdevAdd(node)).await?;
        let backup = json!({
            "job-id": JOB, "device": disk, "target": JOB, "sync": "full", "auto-dismiss": false,
        });
        let started = self.execute(BlockdevBackup(backup)).await;
        let copied = match started {
            Ok(_) => self.finish_job(disk).await,
            Err(error) => Err(error.into()),
        };
        // This writes what QEMU still holds of the image's tables.
        self.execute(BlockdevDel(json!({ "node-name": JOB })))
            .await?;
        self.execute(RemoveFd(json!({ "fdset-id": added.fdset_id })))
            .await?;
        copied
    }

    async fn finish_job(&mut self, disk: &str) -> Result<(), JobError> {
        loop {
            let jobs = self.execute(QueryJobs(json!({}))).await?;
            let job = jobs.into_iter().find(|job| job.id == JOB);
            match job {
                Some(job) if job.status != "concluded" => tokio::time::sleep(POLL_INTERVAL).await,
                Some(Job { error, .. }) => {
                    self.execute(JobDismiss(json!({ "id": JOB }))).await?;
                    return match error {
                        None => Ok(()),
                        Some(why) => Err(JobError::Failed {
                            disk: disk.to_owned(),
                            why,
                        }),
                    };
                }
                None => {
                    return Err(JobError::Failed {
                        disk: disk.to_owned(),
                        why: "its job has gone".to_owned(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_whatever_else_qemu_says_of_it() {
        let text = r#"{"id":"keep","type":"stream","status":"concluded","current-progress":1,
                       "total-progress":1,"error":"No space left on device","new":[]}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(job.status, "concluded");
        assert_eq!(job.error.unwrap(), "No space left on device");
    }
}
