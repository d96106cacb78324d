//! Messages by the fields of a journal's entries.

use super::record::Record;
use super::select::Selection;
use crate::journal::{DataReader, Entry, JournalError, JournalFile};

/// Makes messages of entries.
pub struct FieldReader<'a> {
    file: JournalFile<'a>,
    data: DataReader<'a>,
    /// How much was decompressed when others had their turn.
    turn: u64,
}

impl<'a> FieldReader<'a> {
    pub fn new(file: JournalFile<'a>) -> Self {
        Self {
            file,
            data: file.data(),
            turn: 0,
        }
    }

    /// Whether so much was decompressed that others must have their turn.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.data.decompressed - self.turn > 16 << 20;
        if is_due {
            self.turn = self.data.decompressed;
        }
        is_due
    }

    /// The message of an entry; `None` if it is not wanted, or has none.
    pub fn record(
        &mut self,
        entry: &Entry,
        selection: &Selection,
    ) -> Result<Option<Record>, JournalError> {
        let mut values: [Option<Vec<u8>>; NAMES.len()] = Default::default();
        for offset in self.file.fields(entry)? {
            let is_wanted = |name: &[u8]| NAMES.iter().any(|known| known.as_bytes() == name);
            if let Some(field) = self.data.field(offset, is_wanted)?
                && let Some(place) = NAMES
                    .iter()
                    .position(|known| known.as_bytes() == field.name())
            {
                // Of a field that is there twice, journalctl shows the last one.
                values[place] = Some(field.value().to_vec());
            }
        }
        let mut text = |name: &str| {
            let place = NAMES.iter().position(|known| *known == name)?;
            let value = values[place].take()?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let (pid, own_pid) = (text("_PID"), text("SYSLOG_PID"));
        let is_root = text("_UID").as_deref() == Some("0");
        // As `journalctl --unit` matches: what a unit says, and what the manager and others say of it.
        let of_manager = text("UNIT").filter(|_| pid.as_deref() == Some("1"));
        let of_object = text("OBJECT_SYSTEMD_UNIT").filter(|_| is_root);
        let of_coredump = text("COREDUMP_UNIT").filter(|_| is_root);
        let (own, slice) = (text("_SYSTEMD_UNIT"), text("_SYSTEMD_SLICE"));
        let units = [&of_manager, &of_object, &of_coredump, &own, &slice];
        let priority = text("PRIORITY").and_then(|text| text.parse().ok());
        let units = units.into_iter().filter_map(Option::as_deref);
        if !selection.has_unit(units) || !selection.has_priority(priority) {
            return Ok(None);
        }
        let source = text("_SOURCE_REALTIME_TIMESTAMP").and_then(|text| text.parse().ok());
        let (identifier, program) = (text("SYSLOG_IDENTIFIER"), text("_COMM"));
        let hostname = text("_HOSTNAME");
        let Some(message) = values[0].take() else {
            return Ok(None);
        };
        Ok(Some(Record {
            time: source.or_else(|| i64::try_from(entry.realtime).ok()),
            boot: Some(entry.boot),
            order: (entry.monotonic, entry.seqnum),
            hostname,
            identifier: identifier.or(program),
            pid: pid.or(own_pid),
            unit: of_manager.or(own),
            priority,
            message,
            line: None,
        }))
    }
}

/// The fields that are read; the message first.
const NAMES: [&str; 14] = [
    "MESSAGE",
    "PRIORITY",
    "_HOSTNAME",
    "SYSLOG_IDENTIFIER",
    "_COMM",
    "_PID",
    "SYSLOG_PID",
    "_UID",
    "_SYSTEMD_UNIT",
    "_SYSTEMD_SLICE",
    "UNIT",
    "OBJECT_SYSTEMD_UNIT",
    "COREDUMP_UNIT",
    "_SOURCE_REALTIME_TIMESTAMP",
];
