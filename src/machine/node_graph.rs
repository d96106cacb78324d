//! What QEMU's block layer has opened: nothing but the descriptors that it was given.
//!
//! Headers were checked before QEMU read them, and another process may have changed one in between,
//! for a moment, so that it names a further file. What QEMU made of it shows in its graph of nodes.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blockdev::fd_set;
use super::plan::ChildFd;
use super::{Machine, StartError};
use crate::image::Format;

/// `query-named-block-nodes`. qapi's type requires fields that only the newest QEMU sends.
#[derive(Clone, Debug, Serialize)]
pub(super) struct QueryNodes {
    /// Without all that is below each node: those are in the list themselves.
    pub flat: bool,
}

impl qapi::Command for QueryNodes {
    const NAME: &'static str = "query-named-block-nodes";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<Node>;
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    #[serde(rename = "drv")]
    driver: String,
    /// The name of the file; of a format's node, what describes it and the nodes below.
    file: String,
}

impl Machine {
    /// Fails if QEMU has opened an image that is not one of `files`.
    pub(super) async fn check_nodes(
        &mut self,
        files: &[BorrowedFd<'_>],
        extra: &[OsString],
    ) -> Result<(), StartError> {
        let asked = std::time::Instant::now();
        let nodes = self.execute(QueryNodes { flat: true }).await?;
        tracing::debug!("QEMU named its block nodes in {:?}", asked.elapsed());
        match foreign(&nodes, files, extra) {
            None => Ok(()),
            Some(file) => Err(StartError::Foreign(file.to_owned())),
        }
    }
}

/// The first of `nodes` that opens something besides `files`, unless `extra`, further arguments of
/// the user's, may have asked for it.
pub(super) fn foreign<'a>(
    nodes: &'a [Node],
    files: &[BorrowedFd<'_>],
    extra: &[OsString],
) -> Option<&'a str> {
    let is_format = |driver: &str| Format::ALL.iter().any(|format| format.as_str() == driver);
    let by_user = |name: &str| {
        let mut words = extra.iter().map(|word| word.as_bytes());
        words.any(|word| word.windows(name.len()).any(|part| part == name.as_bytes()))
    };
    let is_ours = |node: &&Node| match node.driver.as_str() {
        "file" | "host_device" => {
            let given = |file: &BorrowedFd<'_>| fd_set(ChildFd(file.as_raw_fd())) == node.file;
            files.iter().any(given) || !node.file.is_empty() && by_user(&node.file)
        }
        "null-co" => true,
        "nbd" => files
            .iter()
            .any(|file| is_connection(&node.file, file.as_raw_fd())),
        driver => is_format(driver) || !extra.is_empty(),
    };
    let node = nodes.iter().find(|node| !is_ours(node))?;
    Some(&node.file)
}

/// Whether the file of a node is the connection `number`. QEMU describes it as `json:` and its options.
fn is_connection(file: &str, number: i32) -> bool {
    let options = file
        .strip_prefix("json:")
        .and_then(|json| serde_json::from_str::<Value>(json).ok());
    options.is_some_and(|options| {
        let option = |name: &str| options.get(name).and_then(Value::as_str);
        option("server.type") == Some("fd") && option("server.str") == Some(&number.to_string())
    })
}
