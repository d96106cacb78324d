//! Reads the classic log files of an image: the current one and those that were rotated, compressed ones
//! too, the newest first.

use std::cmp::Reverse;
use std::io::Read;

use anyhow::anyhow;

use super::journals::{bytes, report};
use super::{Found, MOST, too_long};
use crate::appliance::boot::ROOT;
use crate::commands::inspection::MountedImage;
use crate::inspect::image_files::{ImageFiles, name};
use crate::inspect::log::record::Record;
use crate::inspect::log::select::{BootChoice, Selection};
use crate::inspect::log::syslog;
use crate::launch::Failure;
use crate::package;
use crate::protocol::{Entry, FileKind};

const DIRECTORY: &str = "/var/log";
/// The files that hold all messages, by distribution.
const NAMES: [&str; 2] = ["syslog", "messages"];
/// How many lines without a time are one message at most.
const MOST_LINES: usize = 10_000;
/// How many messages are read before others have their turn: signals, timeouts.
const TURN: usize = 64;

/// Reads what is wanted. What cannot be read is reported.
pub async fn read(image: &MountedImage, selection: &Selection) -> Result<Found, Failure> {
    let before = match &selection.boot {
        Some(BootChoice::Id(_)) => {
            let error = anyhow!("log files have no boot IDs");
            return Err(Failure::with_hint(
                error,
                "--boot=-1 for the last boot but one",
            ));
        }
        Some(BootChoice::Before(number)) => Some(*number),
        None => None,
    };
    let files = ImageFiles::new(&image.session, ROOT, image.in_use);
    let entries = files.list(DIRECTORY).await?;
    let mut found = Found::default();
    // The boot that a message is of, as the number of boots after it.
    let (mut boot, mut weight, mut has_priorities) = (0, 0, false);
    for (name, written) in family(&entries) {
        found.is_there = true;
        let path = format!("{DIRECTORY}/{name}");
        let Some(stored) = bytes(image, &path, MOST as u64 + 1, &mut found).await? else {
            continue;
        };
        if stored.len() > MOST {
            report(&path, &too_large(), &mut found);
            continue;
        }
        let mut text = Vec::new();
        let unpacked = package::decoder(&stored[..]);
        let unpacked =
            unpacked.and_then(|from| Ok(from.take(MOST as u64 + 1).read_to_end(&mut text)?));
        // What comes before the fault is shown all the same.
        match unpacked {
            Ok(length) if length > MOST => report(&path, &too_large(), &mut found),
            Ok(_) => {}
            Err(error) => report(&path, &error, &mut found),
        }
        let is_old = selection
            .since
            .is_some_and(|since| written.saturating_mul(1_000_000) < since);
        for (number, record) in newest_first(&text, written).enumerate() {
            if number % TURN == 0 {
                tokio::task::yield_now().await;
            }
            has_priorities |= record.priority.is_some();
            let is_boot = syslog::is_boot(&record);
            if before.is_none_or(|before| before == boot) && is_wanted(&record, selection) {
                weight += record.weight();
                if weight > MOST {
                    return Err(too_long());
                }
                found.records.push(record);
            }
            boot += usize::from(is_boot);
            if is_enough(selection, found.records.len()) {
                break;
            }
        }
        let is_past = before.is_some_and(|before| boot > before);
        if is_old || is_past || is_enough(selection, found.records.len()) {
            break;
        }
    }
    if selection.priority.is_some() && found.is_there && !has_priorities {
        return Err(anyhow!("the log files of this system have no priorities").into());
    }
    found.records.reverse();
    Ok(found)
}

fn is_enough(selection: &Selection, number: usize) -> bool {
    selection.lines.is_some_and(|lines| number >= lines)
}

fn is_wanted(record: &Record, selection: &Selection) -> bool {
    selection.has_time(record.time)
        && selection.has_priority(record.priority)
        && selection.has_unit(record.identifier.as_deref().map(plain_name))
}

/// systemd's units are named without the suffix in a log.
fn plain_name(identifier: &str) -> &str {
    identifier.rsplit('/').next().unwrap_or(identifier)
}

/// The messages of a file, the last one first. Lines without a time belong to the message before them,
/// and at the start of the file to one of their own.
fn newest_first(text: &[u8], written: i64) -> impl Iterator<Item = Record> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut left = (!text.is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let lines = left?;
        let mut end = lines.len();
        for number in 1.. {
            let break_before = lines[..end].iter().rposition(|byte| *byte == b'\n');
            let start = break_before.map_or(0, |at| at + 1);
            let mut record = syslog::parse(&lines[start..end], written);
            if record.time.is_some() || start == 0 || number == MOST_LINES {
                let more = &lines[end..];
                record.message.extend_from_slice(more);
                if let Some(line) = &mut record.line {
                    line.extend_from_slice(more);
                }
                left = break_before.map(|at| &lines[..at]);
                return Some(record);
            }
            end = start - 1;
        }
        None
    })
}

fn too_large() -> String {
    format!("it is larger than {} MiB", MOST >> 20)
}

/// The current file and its rotated ones, `NAME.1`, `NAME.2.gz`, `NAME-20260131.xz`: their names and when
/// they were written, the newest first.
fn family(entries: &[Entry]) -> Vec<(&str, i64)> {
    for family in NAMES {
        let mut found: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let (name, stat) = (name(entry)?, entry.stat.as_ref()?);
                let rest = name.strip_prefix(family)?;
                let is_rotated = rest.starts_with(['.', '-'])
                    && rest[1..].starts_with(|c: char| c.is_ascii_digit());
                let is_file = matches!(stat.kind, FileKind::File | FileKind::Link);
                (is_file && (rest.is_empty() || is_rotated)).then(|| {
                    // Of files of one second, the smaller number, or the later date, is newer.
                    let number = rest
                        .get(1..)
                        .and_then(|rest| rest.split('.').next()?.parse::<i64>().ok());
                    let number = if rest.starts_with('-') {
                        number.map(|date| -date)
                    } else {
                        number
                    };
                    (
                        Reverse(stat.modified.0),
                        number.filter(|_| !rest.is_empty()),
                        name,
                    )
                })
            })
            .collect();
        // The current file first, whatever its time.
        found.sort_by_key(|(written, number, name)| (*name != family, *written, *number));
        if !found.is_empty() {
            return found
                .into_iter()
                .map(|(Reverse(written), _, name)| (name, written))
                .collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Stat;

    fn entry(name: &str, seconds: i64) -> Entry {
        Entry {
            path: name.into(),
            stat: Some(Stat {
                kind: FileKind::File,
                mode: 0o640,
                links: 1,
                size: 1,
                blocks: 8,
                modified: (seconds, 0),
                device: 1,
                inode: 1,
                ..Stat::default()
            }),
            link: None,
            error: None,
        }
    }

    #[test]
    fn rotated_files_come_from_the_newest_to_the_oldest() {
        let names = |entries: &[Entry]| {
            let names = family(entries).into_iter().map(|(name, _)| name.to_owned());
            names.collect::<Vec<_>>()
        };
        let entries = [
            entry("syslog.10.gz", 7),
            entry("syslog", 7),
            entry("syslog.1", 9),
            entry("syslog.2.gz", 7),
            entry("syslog.conf", 7),
            entry("syslogd", 7),
            entry("messages", 9),
        ];
        assert_eq!(
            names(&entries),
            ["syslog", "syslog.1", "syslog.2.gz", "syslog.10.gz"]
        );
        let entries = ["messages-20260101.xz", "messages", "messages-20260201"];
        let entries = entries.map(|name| entry(name, 5));
        let expected = ["messages", "messages-20260201", "messages-20260101.xz"];
        assert_eq!(names(&entries), expected);
        assert!(names(&[entry("auth.log", 1)]).is_empty());
    }

    #[test]
    fn lines_without_a_time_belong_to_the_message_before() {
        let text = b"cut off\nJan  1 00:00:00 h a: one\n  more\nJan  1 00:00:01 h a: two\n";
        let messages = |text| {
            let mut found: Vec<_> = newest_first(text, 1_700_000_000).collect();
            found.reverse();
            found
        };
        let found = messages(&text[..]);
        let lines: Vec<_> = found.iter().map(|record| record.text()).collect();
        assert_eq!(lines.concat(), text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].message, b"one\n  more");
        assert!(messages(b"").is_empty());
        let empty_lines = vec![b'\n'; 25_001];
        let found = messages(&empty_lines);
        assert_eq!(found.len(), 3);
        let lines: Vec<_> = found.iter().map(|record| record.text()).collect();
        assert_eq!(lines.concat(), empty_lines);
    }
}
