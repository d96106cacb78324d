//! One message of a log, and how it is shown.

use serde::Serialize;

use crate::journal::BootId;
use crate::protocol::ByteString;
use crate::text::time;

/// A message. All text is the image's, and untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Microseconds since 1970; `None` if a line has no time that is understood.
    pub time: Option<i64>,
    /// The boot, of a journal.
    pub boot: Option<BootId>,
    /// Microseconds since that, and a counter: what a boot's messages are sorted by.
    pub order: (u64, u64),
    pub hostname: Option<String>,
    pub identifier: Option<String>,
    pub pid: Option<String>,
    pub unit: Option<String>,
    pub priority: Option<u8>,
    pub message: Vec<u8>,
    /// The whole line, of a log file.
    pub line: Option<Vec<u8>>,
}

/// What journalctl prints in the place of a tab.
const TAB: &[u8] = b"        ";

/// As JSON has it.
#[derive(Serialize)]
struct Json<'a> {
    time: Option<String>,
    boot: Option<String>,
    hostname: &'a Option<String>,
    identifier: &'a Option<String>,
    pid: &'a Option<String>,
    unit: &'a Option<String>,
    priority: Option<u8>,
    message: ByteString,
}

impl Record {
    /// How many bytes of memory it takes, roughly.
    pub fn weight(&self) -> usize {
        let line = self.line.as_ref().map_or(0, Vec::len);
        self.message.len() + line + size_of::<Self>() + 64
    }

    /// The boot as `journalctl --list-boots` has it.
    pub fn boot_id(&self) -> Option<String> {
        let boot = self.boot?;
        Some(boot.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As `journalctl -o short` in UTC prints it, or the line as it stands in the file.
    pub fn text(&self) -> Vec<u8> {
        if let Some(line) = &self.line {
            return [line, &b"\n"[..]].concat();
        }
        let time = self.time.map(time::as_syslog).unwrap_or_default();
        let mut head = time;
        if let Some(hostname) = &self.hostname {
            head.push_str(&format!(" {hostname}"));
        }
        let identifier = self.identifier.as_deref();
        head.push_str(&format!(" {}", identifier.unwrap_or("unknown")));
        if let Some(pid) = &self.pid {
            head.push_str(&format!("[{pid}]"));
        }
        head.push_str(": ");
        // Further lines begin where the first one does.
        let indent = " ".repeat(head.chars().count().min(256));
        let mut text = head.into_bytes();
        let mut message = &self.message[..];
        while let Some(shorter) = message.strip_suffix(b"\n") {
            message = shorter;
        }
        for (number, line) in message.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                text.extend_from_slice(indent.as_bytes());
            }
            for (number, part) in line.split(|byte| *byte == b'\t').enumerate() {
                if number > 0 {
                    text.extend_from_slice(TAB);
                }
                text.extend_from_slice(part);
            }
            text.push(b'\n');
        }
        text
    }

    /// An object and a line feed.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        let micros = |time: i64| {
            let nanoseconds = time.rem_euclid(1_000_000) as u32 * 1000;
            time::as_rfc3339((time.div_euclid(1_000_000), nanoseconds))
        };
        let json = serde_json::to_vec(&Json {
            time: self.time.map(micros),
            boot: self.boot_id(),
            hostname: &self.hostname,
            identifier: &self.identifier,
            pid: &self.pid,
            unit: &self.unit,
            priority: self.priority,
            message: ByteString(self.message.clone()),
        });
        let mut json = json?;
        json.push(b'\n');
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_as_journalctl_does() {
        let mut record = Record {
            time: Some(1_700_000_000_123_456),
            boot: Some([0xab; 16]),
            hostname: Some("h".to_owned()),
            identifier: Some("sshd".to_owned()),
            pid: Some("7".to_owned()),
            message: b"one\ntwo\t2\n".to_vec(),
            ..Record::default()
        };
        let text = |record: &Record| String::from_utf8(record.text()).unwrap();
        let indent = " ".repeat(27);
        let expected = format!("Nov 14 22:13:20 h sshd[7]: one\n{indent}two        2\n");
        assert_eq!(text(&record), expected);
        let json = String::from_utf8(record.json().unwrap()).unwrap();
        let expected = r#"{"time":"2023-11-14T22:13:20.123456Z","boot":"BOOT","hostname":"h","identifier":"sshd","pid":"7","unit":null,"priority":null,"message":"one\ntwo\t2\n"}"#;
        assert_eq!(json.trim_end(), expected.replace("BOOT", &"ab".repeat(16)));
        record.line = Some(b"as it is".to_vec());
        assert_eq!(text(&record), "as it is\n");
    }
}
