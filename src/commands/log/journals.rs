//! Reads the journal of an image: each file as a whole, one after the other, the newest first.

use super::{Found, MOST, too_long};
use crate::appliance::boot::ROOT;
use crate::commands::inspection::MountedImage;
use crate::inspect::image_files::{ImageFiles, name};
use crate::inspect::log::fields::FieldReader;
use crate::inspect::log::record::Record;
use crate::inspect::log::select::{BootChoice, Boots, Selection};
use crate::journal::{HEADER, Header, JournalFile};
use crate::launch::Failure;
use crate::protocol::PathAt;
use crate::session::SessionError;

/// Where journald keeps files, in directories named after the machine's ID. (Those with a dot are of
/// other namespaces.)
const DIRECTORIES: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// The longest file that is read. journald makes none over 128 MiB unless it is told to.
const LARGEST: u64 = 512 << 20;

/// How many entries are read before others have their turn: signals, timeouts.
const TURN: usize = 256;

/// A file, and what its header says.
struct Candidate {
    path: String,
    size: u64,
    header: Header,
}

/// Reads what is wanted. What cannot be read is reported.
pub async fn read(image: &MountedImage, selection: &Selection) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut candidates = candidates(image, &mut found).await?;
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.header.last));
    let mut boots = Boots::default();
    for candidate in &candidates {
        if is_needless(candidate, selection, &found.records) {
            continue;
        }
        let Candidate { path, size, .. } = candidate;
        if *size > LARGEST {
            report(
                path,
                &format!("it is larger than {} MiB", LARGEST >> 20),
                &mut found,
            );
            continue;
        }
        let Some(bytes) = bytes(image, path, LARGEST, &mut found).await? else {
            continue;
        };
        read_file(path, &bytes, selection, &mut boots, &mut found).await?;
        keep_wanted(selection, &boots, &mut found.records);
        if found.records.iter().map(Record::weight).sum::<usize>() > MOST {
            return Err(too_long());
        }
    }
    if let Some(choice) = &selection.boot {
        let chosen = boots.chosen(choice);
        found
            .records
            .retain(|record| record.boot == chosen && chosen.is_some());
        if chosen.is_none() && found.is_there {
            return Err(anyhow::anyhow!("the journal has no such boot").into());
        }
    }
    boots.sort(&mut found.records);
    if let Some(lines) = selection.lines {
        let surplus = found.records.len().saturating_sub(lines);
        found.records.drain(..surplus);
    }
    Ok(found)
}

/// The files, by their names and headers.
async fn candidates(image: &MountedImage, found: &mut Found) -> Result<Vec<Candidate>, Failure> {
    let files = ImageFiles::new(&image.session, ROOT, image.in_use);
    let mut candidates = Vec::new();
    for directory in DIRECTORIES {
        for machine in files.list(directory).await? {
            let Some(machine) = name(&machine).filter(|name| !name.contains('.')) else {
                continue;
            };
            for file in files.list(&format!("{directory}/{machine}")).await? {
                // A file that was not closed has the tilde.
                let is_journal =
                    |name: &&str| name.ends_with(".journal") || name.ends_with(".journal~");
                let (Some(name), Some(stat)) = (name(&file).filter(is_journal), &file.stat) else {
                    continue;
                };
                found.is_there = true;
                let path = format!("{directory}/{machine}/{name}");
                let Some(head) = bytes(image, &path, HEADER as u64, found).await? else {
                    continue;
                };
                match Header::parse(&head) {
                    Ok(header) => candidates.push(Candidate {
                        path,
                        size: stat.size,
                        header,
                    }),
                    Err(error) => report(&path, &error, found),
                }
            }
        }
    }
    Ok(candidates)
}

/// Whether nothing of a file can be wanted: it is too old, too new, or there is enough from newer ones.
fn is_needless(candidate: &Candidate, selection: &Selection, records: &[Record]) -> bool {
    let Header {
        first, last, count, ..
    } = candidate.header;
    let is_before = |time: u64, limit: Option<i64>| {
        limit.is_some_and(|limit| i64::try_from(time).unwrap_or(i64::MAX) < limit)
    };
    // The last time is behind if the file was not closed.
    let is_closed =
        !candidate.path.ends_with("/system.journal") && candidate.path.ends_with(".journal");
    let is_enough = selection.boot.is_none()
        && selection.lines.is_some_and(|lines| records.len() >= lines)
        && records.iter().all(|record| is_before(last, record.time));
    let is_later = selection
        .until
        .is_some_and(|until| is_before(until.max(0) as u64, i64::try_from(first).ok()));
    count == 0 || is_later || is_closed && (is_before(last, selection.since) || is_enough)
}

async fn read_file(
    path: &str,
    bytes: &[u8],
    selection: &Selection,
    boots: &mut Boots,
    found: &mut Found,
) -> Result<(), Failure> {
    let file = match JournalFile::new(bytes) {
        Ok(file) => file,
        Err(error) => {
            report(path, &error, found);
            return Ok(());
        }
    };
    let mut fields = FieldReader::new(file);
    let (mut weight, mut is_damaged) = (0, false);
    for (number, entry) in file.entries().enumerate() {
        if number % TURN == TURN - 1 || fields.is_due() {
            tokio::task::yield_now().await;
        }
        let record = entry.and_then(|entry| {
            boots.add(entry.boot, entry.realtime);
            let time = i64::try_from(entry.realtime).ok();
            let is_of_boot = match &selection.boot {
                Some(BootChoice::Id(id)) => entry.boot == *id,
                _ => true,
            };
            match selection.has_time(time) && is_of_boot {
                true => fields.record(&entry, selection),
                false => Ok(None),
            }
        });
        match record {
            Ok(Some(record)) => {
                weight += record.weight();
                if weight > MOST {
                    return Err(too_long());
                }
                found.records.push(record);
            }
            Ok(None) => {}
            Err(error) => {
                // Once a file: of a damaged one, any number of entries may be.
                if !std::mem::replace(&mut is_damaged, true) {
                    report(path, &error, found);
                }
            }
        }
    }
    Ok(())
}

/// Drops what cannot be wanted any more, now that newer messages are known.
fn keep_wanted(selection: &Selection, boots: &Boots, records: &mut Vec<Record>) {
    if let Some(choice) = &selection.boot {
        let may_be = |boot| boots.may_be_chosen(Some(choice), boot);
        let mut known = std::collections::HashMap::new();
        records.retain(|record| {
            record
                .boot
                .is_some_and(|boot| *known.entry(boot).or_insert_with(|| may_be(boot)))
        });
    } else if let Some(lines) = selection.lines
        && records.len() > lines
    {
        boots.sort(records);
        records.drain(..records.len() - lines);
    }
}

/// The first bytes of a file. `None` if it cannot be read, which is reported, unless the image is in use.
pub(super) async fn bytes(
    image: &MountedImage,
    path: &str,
    most: u64,
    found: &mut Found,
) -> Result<Option<Vec<u8>>, Failure> {
    let at = PathAt::new(ROOT, path.as_bytes());
    match image.session.read_from(at, 0, most).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(SessionError::Refused(error)) if !image.in_use => {
            report(path, &error, found);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says that something could not be read.
pub(super) fn report(path: &str, reason: &dyn std::fmt::Display, found: &mut Found) {
    tracing::error!("{}: {reason}", path.escape_debug());
    found.incomplete = true;
}
