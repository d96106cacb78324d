//! The order of kernel releases such as `6.1.0-56-cloud-amd64`. Pure.

use std::cmp::Reverse;

/// Greater for a later version and, of the same version, for the shorter name: `-amd64` has more
/// drivers than `-cloud-amd64`, and a release follows its candidates. Only the numbers before the
/// first letter count; text without one comes first.
pub fn sort_key(release: &str) -> (Vec<u32>, Reverse<usize>, String) {
    let end = release.find(char::is_alphabetic).unwrap_or(release.len());
    let numbers = release[..end].split(|c: char| !c.is_ascii_digit());
    (
        numbers.filter_map(|number| number.parse().ok()).collect(),
        Reverse(release.len()),
        release.to_owned(),
    )
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
            "6.12.0-1-amd64",
            "6.12.1+deb13-amd64",
            "6.12.1-amd64",
            "6.100.0-1-amd64",
        ];
        let mut sorted = ascending;
        sorted.reverse();
        sorted.sort_by_key(|release| sort_key(release));
        assert_eq!(sorted, ascending);
    }
}
