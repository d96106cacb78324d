//! Times of files in words. In UTC, because an image has no place on earth until it runs.

/// A moment as the calendar has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The year; before the year 0 it is negative.
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// Since midnight.
    pub second: u32,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Half a year, as GNU ls counts it: half of 365.2425 days.
const HALF_A_YEAR: i64 = 31_556_952 / 2;

impl Moment {
    /// From seconds since 1970; an image may state any number.
    pub fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        // Years are counted from March, so that the leap day is the last of a year, in eras of
        // 400 years, which all have the same number of days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            second: seconds.rem_euclid(86_400) as u32,
        }
    }

    fn hour(self) -> u32 {
        self.second / 3600
    }

    fn minute(self) -> u32 {
        self.second / 60 % 60
    }
}

/// As `ls -l` in the C locale: `Jan  2 03:04`, or `Jan  2  2003` of what is older than half a
/// year or lies in the future. `now` is in seconds since 1970, as the time is.
pub fn as_ls(seconds: i64, now: i64) -> String {
    let moment = Moment::of(seconds);
    let month = MONTHS[usize::from(moment.month) - 1];
    let is_recent = seconds <= now && seconds > now.saturating_sub(HALF_A_YEAR);
    match is_recent {
        true => format!(
            "{month} {:2} {:02}:{:02}",
            moment.day,
            moment.hour(),
            moment.minute()
        ),
        false => format!("{month} {:2}  {:4}", moment.day, moment.year),
    }
}

/// As RFC 3339 has it, with nanoseconds where there are any: `2003-01-02T03:04:05.6Z`.
pub fn as_rfc3339((seconds, nanoseconds): (i64, u32)) -> String {
    let moment = Moment::of(seconds);
    let fraction = match nanoseconds {
        0 => String::new(),
        nanoseconds => {
            let digits = format!("{nanoseconds:09}");
            format!(".{}", digits.trim_end_matches('0'))
        }
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        moment.year,
        moment.month,
        moment.day,
        moment.hour(),
        moment.minute(),
        moment.second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_stand_where_the_calendar_has_them() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(as_rfc3339((seconds, 0)), text);
        }
        assert_eq!(as_rfc3339((0, 120_000_000)), "1970-01-01T00:00:00.12Z");
    }

    #[test]
    fn ls_shows_the_hour_of_what_is_young_and_the_year_of_the_rest() {
        let now = 1_700_000_000;
        assert_eq!(as_ls(now, now), "Nov 14 22:13");
        assert_eq!(as_ls(now - 86_400 * 10, now), "Nov  4 22:13");
        assert_eq!(as_ls(now - 86_400 * 200, now), "Apr 28  2023");
        assert_eq!(as_ls(now + 1, now), "Nov 14  2023");
        assert_eq!(as_ls(0, now), "Jan  1  1970");
    }

    proptest! {
        #[test]
        fn no_time_of_a_hostile_image_is_too_much(seconds: i64, now: i64) {
            let moment = Moment::of(seconds / 2);
            prop_assert!((1..=12).contains(&moment.month) && (1..=31).contains(&moment.day));
            prop_assert!(!as_ls(seconds, now).is_empty());
        }

        #[test]
        fn days_follow_one_another(day in -1_000_000_i64..1_000_000) {
            let (one, next) = (Moment::of(day * 86_400), Moment::of((day + 1) * 86_400));
            let same_month = (next.year, next.month, next.day) == (one.year, one.month, one.day + 1);
            prop_assert!(same_month || next.day == 1 && one.day >= 28);
        }
    }
}
