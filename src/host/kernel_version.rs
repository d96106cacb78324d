//! The order of kernel releases such as `6.1.0-56-cloud-amd64`. Pure.

use std::cmp::{Ordering, Reverse};

/// A kernel release, ordered: the later version is the greater, `rc` comes before what it is a
/// candidate for, and of the same version the plainer flavour is the greater (`-amd64` over
/// `-cloud-amd64`: it has more drivers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelVersion {
    /// As `uname -r` spells it.
    pub name: String,
}

impl KernelVersion {
    /// Of any text; text that is no release sorts before all that are.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The numbers up to the first word that is none, with `rc` as a number below 0, and then
    /// how many words follow.
    fn key(&self) -> (Vec<i64>, Reverse<usize>) {
        let mut numbers = Vec::new();
        let mut words = self.name.split(['.', '-', '+', '~', '_']).peekable();
        while let Some(word) = words.peek() {
            let (sign, digits) = match word.strip_prefix("rc") {
                Some(candidate) => (Some(-1), candidate),
                None => (None, *word),
            };
            let Ok(number) = digits.parse::<u32>() else {
                break;
            };
            numbers.extend(sign);
            numbers.push(i64::from(number));
            words.next();
        }
        // 6.12 and 6.12.0 are one version, and both are later than 6.12-rc1.
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        (numbers, Reverse(words.count()))
    }
}

impl Ord for KernelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((mine, my_words), (theirs, their_words)) = (self.key(), other.key());
        let longest = mine.len().max(theirs.len());
        let at = |numbers: &[i64], i: usize| numbers.get(i).copied().unwrap_or(0);
        (0..longest)
            .map(|i| at(&mine, i).cmp(&at(&theirs, i)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
            .then(mine.is_empty().cmp(&theirs.is_empty()).reverse())
            .then(my_words.cmp(&their_words))
            .then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for KernelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_releases_are_greater_and_the_plain_flavour_beats_the_special_one() {
        let ascending = [
            "old",
            "5.15.0-105-generic",
            "6.1.0-9-amd64",
            "6.1.0-10-cloud-amd64",
            "6.1.0-10-amd64",
            "6.8.9-300.fc40.x86_64",
            "6.12-rc7-amd64",
            "6.12-amd64",
            "6.12.1-amd64",
            "6.12.1+deb13-amd64",
            "6.100.0-1-amd64",
        ];
        let mut sorted: Vec<KernelVersion> = ascending
            .iter()
            .rev()
            .map(|n| KernelVersion::new(*n))
            .collect();
        sorted.sort();
        let names: Vec<&str> = sorted.iter().map(|r| r.name.as_str()).collect();
        // "deb13" is a word, so these two differ in flavour only.
        let mut expected = ascending.to_vec();
        expected.swap(8, 9);
        assert_eq!(names, expected);
    }

    #[test]
    fn six_twelve_and_six_twelve_nought_are_one_version() {
        assert!(KernelVersion::new("6.12.0-rc1-amd64") < KernelVersion::new("6.12-amd64"));
        assert!(KernelVersion::new("6.12.0-1-amd64") > KernelVersion::new("6.12-amd64"));
    }
}
