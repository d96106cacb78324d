//! What the kernel says of a mount that it refuses: mount(2) returns a number, the log has the
//! reason (/dev/kmsg, Documentation/ABI/testing/dev-kmsg).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::O_NONBLOCK;

/// Limits on the messages that are quoted, and on the length of each in bytes.
const MAX_MESSAGES: usize = 3;
const MAX_LENGTH: usize = 200;

/// The log from now on.
pub(crate) struct KernelLog(Option<File>);

impl KernelLog {
    /// Without /dev/kmsg there are no messages.
    pub(crate) fn from_now() -> Self {
        let file = File::options()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg");
        let at_end = file.and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
        Self(at_end.ok())
    }

    /// The last messages since then that name `device` or `driver`, without both.
    pub(crate) fn about(self, device: &str, driver: &str) -> Vec<String> {
        let Some(mut file) = self.0 else {
            return Vec::new();
        };
        let device = device.rsplit('/').next().unwrap_or(device);
        let mut messages: Vec<String> = Vec::new();
        // One record a read; EAGAIN after the last.
        let mut record = [0; 8192];
        while let Ok(length @ 1..) = file.read(&mut record) {
            let text = String::from_utf8_lossy(&record[..length]);
            messages.extend(message(&text, device, driver));
        }
        messages.dedup();
        let first = messages.len().saturating_sub(MAX_MESSAGES);
        messages.split_off(first)
    }
}

/// The message of a record `PRIORITY,NUMBER,TIME,FLAGS;MESSAGE`, if it is about the device.
fn message(record: &str, device: &str, driver: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?.trim();
    let is_named = text.contains(device) || text.to_ascii_lowercase().contains(driver);
    is_named.then_some(())?;
    // Only what follows the last mention: `EXT4-fs (vda): bad geometry: ...`.
    let rest = text
        .split_once(&format!("({device}): "))
        .map_or(text, |(_, rest)| rest);
    let end = (0..=MAX_LENGTH.min(rest.len()))
        .rev()
        .find(|end| rest.is_char_boundary(*end));
    Some(rest[..end.unwrap_or(0)].to_owned())
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn the_reason_is_what_follows_the_device() {
        let of = |record| message(record, "vda1", "xfs");
        let line = "3,412,1893722,-;EXT4-fs (vda1): bad geometry: block count 5120 exceeds size\n SUBSYSTEM=block\n";
        let reason = "bad geometry: block count 5120 exceeds size";
        assert_eq!(of(line).as_deref(), Some(reason));
        assert_eq!(
            of("1,2,3,-;XFS: log too small").as_deref(),
            Some("XFS: log too small")
        );
        let line = "3,1,2,-;(mount.xfs,7,0):xfs_fill_super:9 ERROR: status = -22";
        assert!(of(line).unwrap().starts_with("(mount.xfs"));
        assert_eq!(of("1,2,3,-;something else"), None);
        assert_eq!(of("no record"), None);
    }
}
