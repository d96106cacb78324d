//! Times and durations as people type and read them. In UTC: an image has no time zone until it
//! runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// Half a year, as GNU ls counts it: half of 365.2425 days.
const HALF_A_YEAR: i64 = 31_556_952 / 2;

/// As `ls -l` in the C locale: `Jan  2 03:04`, or `Jan  2  2003` for what is older than half a
/// year or lies in the future. `now` is in seconds since 1970, as the time is; a time beyond the
/// years -9999 to 9999 stays that number, as with GNU ls.
pub fn as_ls(seconds: i64, now: i64) -> String {
    let Ok(time) = Timestamp::from_second(seconds) else {
        return seconds.to_string();
    };
    let is_recent = seconds <= now && seconds > now.saturating_sub(HALF_A_YEAR);
    let format = if is_recent {
        "%b %e %H:%M"
    } else {
        "%b %e  %Y"
    };
    Offset::UTC.to_datetime(time).strftime(format).to_string()
}

/// By RFC 3339, with nanoseconds if there are any: `2003-01-02T03:04:05.6Z`. A time beyond the
/// years -9999 to 9999 is its number of seconds.
pub fn as_rfc3339((seconds, nanoseconds): (i64, u32)) -> String {
    let time = i32::try_from(nanoseconds)
        .ok()
        .and_then(|nanoseconds| Timestamp::new(seconds, nanoseconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// As syslog writes times, `Jan  2 03:04:05`, but with a day of two digits, as journald does. `micros`
/// is in microseconds since 1970; a time beyond the years -9999 to 9999 is its number of seconds.
pub fn as_syslog(micros: i64) -> String {
    let Ok(time) = Timestamp::from_microsecond(micros) else {
        return (micros / 1_000_000).to_string();
    };
    let time = Offset::UTC.to_datetime(time);
    time.strftime("%b %d %H:%M:%S").to_string()
}

/// An instant that was typed, in microseconds since 1970: a date, with or without a time, in UTC; a time
/// with its zone, by RFC 3339; or a duration, for as long ago.
pub fn parse_instant(text: &str) -> Result<i64, String> {
    let zoned = text.parse::<Timestamp>().ok();
    let civil = || {
        let time = text.parse::<DateTime>().ok();
        let day = || text.parse::<Date>().ok().map(DateTime::from);
        Offset::UTC.to_timestamp(time.or_else(day)?).ok()
    };
    if let Some(time) = zoned.or_else(civil) {
        return Ok(time.as_microsecond());
    }
    let ago = parse_duration(text.strip_suffix(" ago").unwrap_or(text))
        .map_err(|_| "not a time such as 2026-01-31, \"2026-01-31 12:00\" or 2h".to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default().saturating_sub(ago);
    i64::try_from(then.as_micros()).map_err(|error| error.to_string())
}

/// A duration: a number with an optional suffix ms, s, m, h; seconds without one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let unit = UNITS
        .iter()
        .find_map(|(suffix, millis)| Some((text.strip_suffix(suffix)?, *millis)));
    let (number, millis) = unit.unwrap_or((text, 1000));
    let number = number.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(millis))
        .filter(|millis| (1..=u64::from(u32::MAX) * 1000).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| "not a time such as 90, 90s, 5m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants_are_dates_times_and_durations() {
        let micros = 1_000_000;
        for (text, seconds) in [
            ("2026-01-31", 1_769_817_600),
            ("2026-01-31 12:00", 1_769_860_800),
            ("2026-01-31 12:00:01", 1_769_860_801),
            ("2026-01-31T12:00:00Z", 1_769_860_800),
            ("2026-01-31T12:00:00+01:00", 1_769_857_200),
        ] {
            assert_eq!(parse_instant(text), Ok(seconds * micros), "{text}");
        }
        let ago = parse_instant("2h ago").unwrap() - parse_instant("1h").unwrap();
        assert!((-3601 * micros..-3599 * micros).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "2026-13-01", "12:00"] {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
        assert_eq!(as_syslog(1_769_860_801_999_999), "Jan 31 12:00:01");
        assert_eq!(as_syslog(i64::MAX), "9223372036854");
    }

    #[test]
    fn times_stand_where_the_calendar_has_them() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(as_rfc3339((seconds, 0)), text);
        }
        assert_eq!(as_rfc3339((0, 120_000_000)), "1970-01-01T00:00:00.12Z");
        assert_eq!(as_rfc3339((-1, 500_000_000)), "1969-12-31T23:59:59.5Z");
    }

    #[test]
    fn ls_shows_the_hour_of_what_is_young_and_the_year_of_the_rest() {
        let now = 1_700_000_000;
        assert_eq!(as_ls(now, now), "Nov 14 22:13");
        assert_eq!(as_ls(now - 86_400 * 10, now), "Nov  4 22:13");
        assert_eq!(as_ls(now - 86_400 * 200, now), "Apr 28  2023");
        assert_eq!(as_ls(now + 1, now), "Nov 14  2023");
        assert_eq!(as_ls(0, now), "Jan  1  1970");
        assert_eq!(as_ls(i64::MIN, now), "-9223372036854775808");
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "s", "0", "-3", "1d", "forever", "99999999999999h", "é"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_time_and_any_text_are_taken(time: (i64, u32), now: i64, text in "\\PC*") {
            prop_assert!(!as_ls(time.0, now).is_empty());
            prop_assert!(!as_rfc3339(time).is_empty());
            let _ = parse_duration(&text);
        }
    }
}
