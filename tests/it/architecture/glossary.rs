//! Words that the project does not use: each had a plainer one, or meant several things
//! (ARCHITECTURE.md has the glossary). They stand nowhere in src, man, the README and the tests.

use std::fs;

use super::root;
use super::source::{files_below, has_word};

/// Words that are found in any text, whatever their case, also as a part of an identifier:
/// `with_mend`, `MendOnce`.
const WORDS: &[&str] = &[
    "mend", "mends", "mended", "errand", "trouble", "troubles", "heed", "heeds", "heeded", "scrub",
    "conduct", "conducts", "voice", "blame", "awake", "seeding",
];

/// Words that are found as they stand, as whole words: names of types, functions and files.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    // commands
    "Errand", "Journal", "Paper", "is_replaceable", "pitch", "strike", "Assembled", "calm", "unfit",
    "Warmed", "written.rs", "copies.rs", "Fetched", "verdict.rs", "together.rs",
    "Finished::Planned", "Finished::Commanded", "Finished::Ran", "Moment", "settled", "held.rs",
    "Wanted", "lay", "Typed", "Outputs", "Course", "course.rs", "judge_", "Holding",
    "Shown", "LookFacts", "look into", "looks into", "looking into", "looked into", "a look",
    // template
    "obtain", "Obtained", "obtain.rs", "whole.rs", "Turn", "Described", "Listed",
    // guest, protocol, session
    "Speaker", "FromAgent", "Fate", "Gate", "Arrival", "owner.rs", "hello.rs",     "made.rs", "groups.rs", "Nonsense",
    // agent
    "Piece", "LeftOut", "task.rs", "serve.rs", "account.rs", "resolve.rs", "look.rs",
    // machine, host, image, archive, cli
    "Saving", "SavingError", "may_be_saved", "scrub.rs", "Holdings", "News", "Sighting", "GaveUp", "Camp",
    "vacant", "UseOfMemory", "Abilities", "kvm_trial", "crawls", "Asker", "ChosenBy",
    "opened.rs", "NamedBy", "Beneath", "anew(", "Collected", "Extracted",
    // tests
    "Den",
];

/// The parts of an identifier or word, in small letters: `withMend_once` is `with`, `mend`, `once`.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let is_new = !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase());
        if is_new && !parts.last().unwrap().is_empty() {
            parts.push(String::new());
        }
        if c.is_alphabetic() || c == '\'' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    parts
}

#[test]
fn no_word_of_the_old_glossary_is_used() {
    let mut files: Vec<_> = ["src", "man", "tests"]
        .into_iter()
        .flat_map(files_below)
        .collect();
    files.push("README.md".into());
    let mut found = Vec::new();
    for path in files {
        // This list, and images' and archives' bytes.
        if path.ends_with("architecture/glossary.rs") || path.starts_with("tests/corpus") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        let name = path.display();
        let whole = std::iter::once((0, path.to_str().unwrap())).chain((1..).zip(text.lines()));
        for (number, line) in whole {
            let parts = parts(line);
            let words = WORDS
                .iter()
                .filter(|word| parts.iter().any(|part| part == *word));
            let names = NAMES.iter().filter(|word| has_word(line, word));
            found.extend(
                words
                    .chain(names)
                    .map(|word| format!("{name}:{number}: {word}")),
            );
        }
    }
    let count = found.len();
    assert!(found.is_empty(), "{}\n{count} in all", found.join("\n"));
}
