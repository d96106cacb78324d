//! The cases: read from text, dealt out to shards, put into a command line, and named in a file
//! system. Pure.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What stands for the case in a command.
const REPLACED: &[u8] = b"{}";

/// The longest name of a case's directory, in bytes, without what makes it unique.
const NAME_MAX: usize = 100;

/// The cases in a text, one between two separators. Empty ones are left out.
pub fn parse(text: &[u8], separator: u8) -> Vec<OsString> {
    text.split(|byte| *byte == separator)
        .filter(|case| !case.is_empty())
        .map(|case| OsString::from_vec(case.to_vec()))
        .collect()
}

/// The part of all cases that one job of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub index: usize,
    pub count: usize,
}

impl Shard {
    /// `I/N`, with 1 <= I <= N.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "not I/N, with I from 1 to N";
        let (index, count) = text.split_once('/').ok_or(wrong)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong);
        let shard = Self {
            index: number(index)?,
            count: number(count)?,
        };
        match (1..=shard.count).contains(&shard.index) {
            true => Ok(shard),
            false => Err(wrong),
        }
    }

    /// Every N-th case, so that neighbours, which often take as long, are not all in one shard.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let own = all.into_iter().skip(self.index - 1).step_by(self.count);
        own.collect()
    }
}

/// The command for a case, which replaces each `{}`, and is the last argument if there is none.
pub fn command(words: &[OsString], case: &OsStr) -> Vec<OsString> {
    let has = |word: &OsString| find(word.as_bytes()).is_some();
    let mut command: Vec<_> = words.iter().map(|word| replaced(word, case)).collect();
    if !words.iter().any(has) {
        command.push(case.to_owned());
    }
    command
}

fn replaced(word: &OsStr, case: &OsStr) -> OsString {
    let (mut rest, mut new) = (word.as_bytes(), Vec::new());
    while let Some(at) = find(rest) {
        new.extend_from_slice(&rest[..at]);
        new.extend_from_slice(case.as_bytes());
        rest = &rest[at + REPLACED.len()..];
    }
    new.extend_from_slice(rest);
    OsString::from_vec(new)
}

fn find(word: &[u8]) -> Option<usize> {
    let mut windows = word.windows(REPLACED.len());
    windows.position(|window| window == REPLACED)
}

/// A name for the directory of each case, all different: that of the case, where it is a name.
pub fn directories(cases: &[OsString]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(cases.len());
    for case in cases {
        let plain = plain_name(case);
        let mut name = plain.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{plain}-{number}");
        }
        names.push(name);
    }
    names
}

fn plain_name(case: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-+@=,".contains(byte);
    let bytes = case.as_bytes().iter().take(NAME_MAX);
    let name: String = bytes
        .map(|byte| if plain(byte) { char::from(*byte) } else { '_' })
        .collect();
    match name.trim_start_matches('.') {
        // Hidden, or the directory itself or that above.
        rest if rest.len() < name.len() => format!("_{rest}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_line_is_a_case_and_with_nul_lines_are_part_of_one() {
        assert_eq!(parse(b"a\n\nb c\nd", b'\n'), words(&["a", "b c", "d"]));
        assert_eq!(parse(b"a\nb\0c\0", 0), words(&["a\nb", "c"]));
        assert_eq!(parse(b"", b'\n'), words(&[]));
    }

    #[test]
    fn a_shard_is_one_of_so_many() {
        let shard = |index, count| Ok(Shard { index, count });
        assert_eq!(Shard::parse("1/1"), shard(1, 1));
        assert_eq!(Shard::parse("3/4"), shard(3, 4));
        for wrong in ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3"] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_case_is_put_in_everywhere_or_at_the_end() {
        let case = OsStr::new("x y");
        let with = |given: &[&str]| command(&words(given), case);
        assert_eq!(with(&["test", "{}"]), words(&["test", "x y"]));
        assert_eq!(
            with(&["{}", "a{}b{}", "{}}"]),
            words(&["x y", "ax ybx y", "x y}"])
        );
        assert_eq!(with(&["true"]), words(&["true", "x y"]));
        // What is put in is not looked at again.
        assert_eq!(
            command(&words(&["{}{}"]), OsStr::new("{}")),
            words(&["{}{}"])
        );
    }

    #[test]
    fn directories_are_named_as_their_cases() {
        let cases = words(&["a.sh", "../x", ".", "", "a/b", "a_b", "a b"]);
        let names = ["a.sh", "__x", "_", "", "a_b", "a_b-2", "a_b-3"];
        assert_eq!(directories(&cases)[..3], names[..3]);
        assert_eq!(directories(&cases)[4..], names[4..]);
    }

    proptest! {
        #[test]
        fn every_case_is_in_one_shard(all in prop::collection::vec(any::<u8>(), 0..60), count in 1_usize..9) {
            let shards = (1..=count).map(|index| Shard { index, count }.of(all.clone()));
            let mut dealt: Vec<_> = shards.flatten().collect();
            let mut all = all;
            dealt.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(dealt, all);
        }

        #[test]
        fn a_directory_is_one_name_and_no_other_cases(
            cases in prop::collection::vec("[./a-b\\-2\\n\\PC]{0,6}", 0..20)
        ) {
            let cases: Vec<_> = cases.into_iter().map(OsString::from).collect();
            let names = directories(&cases);
            let different: HashSet<_> = names.iter().collect();
            prop_assert_eq!(different.len(), cases.len());
            for name in names {
                prop_assert!(!name.contains('/') && !name.starts_with('.'));
            }
        }
    }
}
