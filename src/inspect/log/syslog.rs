//! Lines of syslog's files, as rsyslog, syslog-ng and busybox write them. Pure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::record::Record;
use super::select::priority;

/// Understands a line: `TIME HOST PROGRAM[PID]: MESSAGE`, of busybox with `FACILITY.PRIORITY` before the
/// program. What is not understood is a message. `written` is when the file was written last, in seconds
/// since 1970: the older form of a time has no year.
pub fn parse(line: &[u8], written: i64) -> Record {
    let text = String::from_utf8_lossy(line);
    let mut record = Record {
        message: line.to_vec(),
        line: Some(line.to_vec()),
        ..Record::default()
    };
    let Some((time, rest)) = old_time(&text, written).or_else(|| new_time(&text)) else {
        return record;
    };
    record.time = Some(time);
    let Some((hostname, mut rest)) = rest.split_once(' ') else {
        return record;
    };
    record.hostname = Some(hostname.to_owned());
    if let Some((word, after)) = rest.split_once(' ')
        && let Some((_, name)) = word.split_once('.')
        && let Some(number) = priority(name)
    {
        (record.priority, rest) = (Some(number), after);
    }
    let Some((tag, message)) = rest
        .split_once(": ")
        .or_else(|| Some((rest.strip_suffix(':')?, "")))
    else {
        return record;
    };
    let (identifier, pid) = match tag.strip_suffix(']').and_then(|tag| tag.rsplit_once('[')) {
        Some((identifier, pid)) => (identifier, Some(pid.to_owned())),
        None => (tag, None),
    };
    if identifier.is_empty() || identifier.contains(' ') {
        return record;
    }
    record.identifier = Some(identifier.to_owned());
    record.pid = pid;
    record.message = message.as_bytes().to_vec();
    record
}

/// Whether a message is the first one of a boot: the kernel says its version.
pub fn is_boot(record: &Record) -> bool {
    let is_kernel = record.identifier.as_deref() == Some("kernel");
    let mut windows = record.message.windows(14);
    is_kernel && windows.any(|window| window == b"Linux version ")
}

/// `2026-01-31T12:00:00.123456+01:00 `, in microseconds since 1970, and the rest.
fn new_time(line: &str) -> Option<(i64, &str)> {
    let (word, rest) = line.split_once(' ')?;
    let time: Timestamp = word.parse().ok()?;
    Some((time.as_microsecond(), rest))
}

/// `Jan 31 12:00:00 `, in UTC, and the rest.
fn old_time(line: &str, written: i64) -> Option<(i64, &str)> {
    let (word, rest) = (line.get(..15)?, line.get(15..)?.strip_prefix(' ')?);
    let written = Offset::UTC.to_datetime(Timestamp::from_second(written).ok()?);
    let of_year = |year: i16| {
        let time = DateTime::strptime("%Y %b %e %H:%M:%S", format!("{year} {word}")).ok()?;
        Offset::UTC.to_timestamp(time).ok()
    };
    // A time zone ahead of UTC may make it a day later than the file.
    let limit = written.saturating_add(jiff::Span::new().days(1));
    let time = of_year(written.year()).filter(|time| Offset::UTC.to_datetime(*time) <= limit);
    let time = time.or_else(|| of_year(written.year().checked_sub(1)?))?;
    Some((time.as_microsecond(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-03-01T00:00:00Z.
    const WRITTEN: i64 = 1_709_251_200;

    fn seconds(line: &str) -> Option<i64> {
        parse(line.as_bytes(), WRITTEN)
            .time
            .map(|time| time / 1_000_000)
    }

    #[test]
    fn a_time_without_a_year_is_of_the_last_one_that_fits() {
        assert_eq!(seconds("Feb 29 12:00:00 h a: b"), Some(1_709_208_000));
        assert_eq!(seconds("Mar  1 06:00:00 h a: b"), Some(1_709_272_800));
        assert_eq!(seconds("Dec 31 23:59:59 h a: b"), Some(1_704_067_199));
        assert_eq!(
            seconds("2024-01-01T01:00:00.5+01:00 h a: b"),
            Some(1_704_067_200)
        );
        for none in [
            "",
            "Foo 31 23:59:59 h a",
            "Jan 99 00:00:00 h",
            "  continued",
            "Jan é1 23:59:59",
        ] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn a_line_has_host_program_and_message() {
        let record = parse(b"Feb 29 12:00:00 core sshd[12]: a: b", WRITTEN);
        assert_eq!(record.hostname.as_deref(), Some("core"));
        assert_eq!(record.identifier.as_deref(), Some("sshd"));
        assert_eq!(
            (record.pid.as_deref(), &record.message[..]),
            (Some("12"), &b"a: b"[..])
        );
        let record = parse(b"Feb 29 12:00:00 alpine daemon.err init: no", WRITTEN);
        assert_eq!(
            (record.priority, record.identifier.as_deref()),
            (Some(3), Some("init"))
        );
        let record = parse(b"Feb 29 12:00:00 core no program at all: x", WRITTEN);
        assert_eq!(record.identifier, None);
        assert!(is_boot(&parse(
            b"Feb 29 12:00:00 h kernel: [ 0.0] Linux version 6",
            WRITTEN
        )));
        assert!(!is_boot(&parse(
            b"Feb 29 12:00:00 h sshd: Linux version 6",
            WRITTEN
        )));
    }
}
