//! When a system ran last. Only wtmp says when it booted; other files only say that it was running
//! at a time.

use serde::{Serialize, Serializer};

use super::image_files::{ImageFiles, name};
use crate::linux::bytes::Fields;
use crate::session::SessionError;
use crate::text::time;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastBoot {
    /// Seconds since 1970; in a report by RFC 3339.
    #[serde(rename = "time", serialize_with = "as_time")]
    pub seconds: i64,
    pub what: BootEvidence,
    pub evidence: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootEvidence {
    Started,
    /// It was running, and may have booted long before.
    Running,
}

/// A record of wtmp (utmp(5)): its size, and the offsets of its type and its seconds.
const RECORD: usize = 384;
const TYPE: usize = 0;
const SECONDS: usize = 340;
/// The ut_type of a record that init writes at boot.
const BOOT_TIME: [u8; 2] = [2, 0];
/// The most that is read of wtmp's end: 10,000 records.
const WTMP: u64 = 10_000 * RECORD as u64;

/// Files that a running system writes and no installer does.
const WRITTEN: [&str; 3] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/timesync/clock",
    "/var/lib/dhcp/dhclient.leases",
];

fn as_time<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::as_rfc3339((*seconds, 0)))
}

/// The best evidence; `None` if the system never ran.
pub async fn last_boot(files: ImageFiles<'_>) -> Result<Option<LastBoot>, SessionError> {
    for path in ["/var/log/wtmp", "/var/log/wtmp.1"] {
        let bytes = files.bytes_at_end(path, WTMP, RECORD as u64).await?;
        if let Some(seconds) = bytes.as_deref().and_then(boot_of_wtmp) {
            return Ok(Some(LastBoot {
                seconds,
                what: BootEvidence::Started,
                evidence: path.to_owned(),
            }));
        }
    }
    let mut best: Option<LastBoot> = None;
    let mut consider = |seconds: i64, evidence: String| {
        if best.as_ref().is_none_or(|best| seconds > best.seconds) {
            best = Some(LastBoot {
                seconds,
                what: BootEvidence::Running,
                evidence,
            });
        }
    };
    // A directory for each machine ID; a copied image may have several.
    for machine in files.list("/var/log/journal").await? {
        let Some(machine) = name(&machine) else {
            continue;
        };
        let path = format!("/var/log/journal/{machine}/system.journal");
        if let Some(stat) = files.stat(&path).await? {
            consider(stat.modified.0, path);
        }
    }
    for path in WRITTEN {
        if let Some(stat) = files.stat(path).await? {
            consider(stat.modified.0, path.to_owned());
        }
    }
    Ok(best)
}

fn boot_of_wtmp(bytes: &[u8]) -> Option<i64> {
    let records = bytes.chunks_exact(RECORD);
    let boots = records.filter(|record| record[TYPE..TYPE + 2] == BOOT_TIME);
    let mut boots = boots.map(|record| i64::from(record.le32(SECONDS)));
    boots.rfind(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, seconds: u32) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[TYPE] = kind;
        record[SECONDS..SECONDS + 4].copy_from_slice(&seconds.to_le_bytes());
        record
    }

    #[test]
    fn the_last_start_of_wtmp_counts() {
        let wtmp = [
            record(2, 100),
            record(7, 150),
            record(2, 200),
            record(8, 300),
        ]
        .concat();
        assert_eq!(boot_of_wtmp(&wtmp), Some(200));
        assert_eq!(boot_of_wtmp(&record(7, 1)), None);
        // A boot before the clock was set, and a record that is cut off.
        assert_eq!(boot_of_wtmp(&record(2, 0)), None);
        assert_eq!(boot_of_wtmp(&record(2, 9)[..300]), None);
    }
}
