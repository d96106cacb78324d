//! Which messages are wanted. Pure.

use std::collections::HashMap;
use std::str::FromStr;

use super::record::Record;
use crate::journal::BootId;

/// The names of syslog's priorities, the most urgent first (syslog(3)).
const PRIORITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// The least urgent priority to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(pub u8);

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let by_name = priority(text);
        let by_number = || text.parse().ok().filter(|number| *number < 8);
        let number = by_name.or_else(by_number);
        number
            .map(Self)
            .ok_or_else(|| format!("not one of {}, or 0 to 7", PRIORITIES.join(", ")))
    }
}

/// The number of a priority's name, the older ones too.
pub fn priority(name: &str) -> Option<u8> {
    let name = match name {
        "panic" => "emerg",
        "error" => "err",
        "warn" => "warning",
        name => name,
    };
    let place = PRIORITIES.iter().position(|known| *known == name);
    place.map(|place| place as u8)
}

/// A boot to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootChoice {
    /// How many boots before the last one.
    Before(usize),
    Id(BootId),
}

impl FromStr for BootChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() == 32 {
            let id = u128::from_str_radix(&digits, 16);
            return Ok(Self::Id(id.map_err(|_| wrong())?.to_be_bytes()));
        }
        match text.parse::<i64>() {
            Ok(number) if number <= 0 => Ok(Self::Before(number.unsigned_abs() as usize)),
            _ => Err(wrong()),
        }
    }
}

fn wrong() -> String {
    "not 0 for the last boot, -1 for the one before, or the ID of one".to_owned()
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub boot: Option<BootChoice>,
    pub units: Vec<String>,
    pub priority: Option<Priority>,
    /// Microseconds since 1970.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub lines: Option<usize>,
}

impl Selection {
    /// Whether a message of this time may be wanted.
    pub fn has_time(&self, time: Option<i64>) -> bool {
        let Some(time) = time else {
            return self.since.is_none() && self.until.is_none();
        };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether a priority is urgent enough.
    pub fn has_priority(&self, priority: Option<u8>) -> bool {
        let Some(Priority(least)) = self.priority else {
            return true;
        };
        priority.is_some_and(|priority| priority <= least)
    }

    /// Whether one of these names is that of a wanted unit, if units are asked for.
    pub fn has_unit<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let is_wanted = |name: &str| self.units.iter().any(|unit| same_unit(unit, name));
        self.units.is_empty() || names.into_iter().any(is_wanted)
    }
}

/// Whether a unit is meant by what was typed, which may lack `.service`.
fn same_unit(typed: &str, name: &str) -> bool {
    typed == name || name.strip_suffix(".service") == Some(typed)
}

/// The boots of a journal, by the times of their last messages: the clock may be wrong at the start.
#[derive(Clone, Debug, Default)]
pub struct Boots {
    last: HashMap<BootId, u64>,
}

impl Boots {
    pub fn add(&mut self, boot: BootId, time: u64) {
        let last = self.last.entry(boot).or_default();
        *last = time.max(*last);
    }

    /// The boots, the last one first.
    fn newest_first(&self) -> Vec<BootId> {
        let mut boots: Vec<_> = self
            .last
            .iter()
            .map(|(boot, last)| (*last, *boot))
            .collect();
        boots.sort_unstable_by(|one, other| other.cmp(one));
        boots.into_iter().map(|(_, boot)| boot).collect()
    }

    /// The boot that is meant; `None` if there are not as many.
    pub fn chosen(&self, choice: &BootChoice) -> Option<BootId> {
        match choice {
            BootChoice::Id(id) => self.last.contains_key(id).then_some(*id),
            BootChoice::Before(number) => self.newest_first().get(*number).copied(),
        }
    }

    /// Whether messages of a boot may turn out to be wanted when earlier ones are found.
    pub fn may_be_chosen(&self, choice: Option<&BootChoice>, boot: BootId) -> bool {
        match choice {
            None => true,
            Some(BootChoice::Id(id)) => boot == *id,
            Some(BootChoice::Before(number)) => {
                let boots = self.newest_first();
                boots
                    .iter()
                    .take(number.saturating_add(1))
                    .any(|one| *one == boot)
            }
        }
    }

    /// Sorts messages by their boots, and within a boot by the clock that never jumps.
    pub fn sort(&self, records: &mut [Record]) {
        records.sort_by_key(|record| {
            let last = record.boot.and_then(|boot| self.last.get(&boot));
            (last.copied(), record.boot, record.order)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_and_boots_are_typed_as_journalctl_takes_them() {
        let priority = |text: &str| text.parse::<Priority>().map(|Priority(number)| number);
        assert_eq!(priority("err"), Ok(3));
        assert_eq!(priority("warn"), Ok(4));
        assert_eq!(priority("7"), Ok(7));
        assert!(priority("8").is_err() && priority("").is_err());
        let boot = |text: &str| text.parse::<BootChoice>();
        assert_eq!(boot("0"), Ok(BootChoice::Before(0)));
        assert_eq!(boot("-2"), Ok(BootChoice::Before(2)));
        assert_eq!(boot(&"0a".repeat(16)), Ok(BootChoice::Id([10; 16])));
        for wrong in ["1", "x", "", "0a0a", &"zz".repeat(16)] {
            assert!(boot(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn units_are_meant_without_their_suffix_too() {
        let selection = Selection {
            units: vec!["ssh".to_owned(), "a.timer".to_owned()],
            priority: Some(Priority(3)),
            since: Some(5),
            ..Selection::default()
        };
        assert!(selection.has_unit(["x", "ssh.service"]) && selection.has_unit(["ssh"]));
        assert!(selection.has_unit(["a.timer"]) && !selection.has_unit(["a.service"]));
        assert!(!selection.has_unit(["sshd.service"]) && !selection.has_unit([]));
        assert!(selection.has_priority(Some(3)) && !selection.has_priority(Some(4)));
        assert!(!selection.has_priority(None) && !selection.has_time(None));
        assert!(selection.has_time(Some(5)) && !selection.has_time(Some(4)));
    }

    #[test]
    fn the_last_boot_is_that_of_the_newest_message() {
        let mut boots = Boots::default();
        for (boot, time) in [(1, 10), (2, 30), (3, 20), (1, 5)] {
            boots.add([boot; 16], time);
        }
        let before = BootChoice::Before;
        assert_eq!(boots.chosen(&before(0)), Some([2; 16]));
        assert_eq!(boots.chosen(&before(2)), Some([1; 16]));
        assert_eq!(boots.chosen(&before(3)), None);
        assert_eq!(boots.chosen(&BootChoice::Id([9; 16])), None);
        assert!(boots.may_be_chosen(Some(&before(1)), [3; 16]));
        assert!(!boots.may_be_chosen(Some(&before(1)), [1; 16]));
    }
}
