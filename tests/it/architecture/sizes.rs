//! How large a function, a file and a module may be.

use std::collections::BTreeMap;
use std::fs;

use super::source::{Source, files_below, sources};
use super::{refuse, root};

/// Lines of a function, of a file, and of a module in percent of all.
const FUNCTION: usize = 80;
const FILE: usize = 400;
const MODULE: usize = 20;

/// Each function with its first line and its length. A counter of braces: it sees no strings and
/// no comments, and a function ends where its braces do.
fn functions(source: &Source) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    // Those that are open: name, first line, and the depth outside of their braces.
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    let mut declared: Option<(String, usize)> = None;
    let mut depth: usize = 0;
    for (number, line) in source.lines() {
        if let Some(rest) = line.split("fn ").nth(1).filter(|_| is_function(line)) {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            declared = Some((name.to_owned(), number));
        }
        for c in line.chars() {
            match c {
                '{' => {
                    open.extend(declared.take().map(|(name, first)| (name, first, depth)));
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if let Some((name, first, _)) = open.pop_if(|(_, _, outer)| *outer == depth) {
                        found.push((first, name, number + 1 - first));
                    }
                }
                // A declaration without a body, but not the `;` of `[u8; 4]`.
                ';' if line.trim_end().ends_with(';') => declared = None,
                _ => {}
            }
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut before = words.take_while(|word| *word != "fn");
    let known = |word: &str| {
        let qualifiers = ["async", "const", "unsafe", "extern", "default"];
        word.starts_with("pub") || qualifiers.contains(&word) || word.ends_with(')')
    };
    before.all(known) && line.split_whitespace().any(|word| word == "fn")
}

#[test]
fn no_function_is_over_80_lines() {
    refuse(|source| {
        let long = functions(source).into_iter();
        long.filter(|(_, _, lines)| *lines > FUNCTION)
            .map(|(first, name, lines)| format!("{source}:{first}: {name} has {lines} lines"))
            .collect()
    });
    let all: usize = sources().iter().map(|source| functions(source).len()).sum();
    assert!(all > 1000, "{all} functions were found");
}

#[test]
fn no_file_is_over_400_lines() {
    refuse(|source| match source.text.lines().count() {
        0..=FILE => vec![],
        lines => vec![format!("{source} has {lines} lines")],
    });
    for path in files_below("tests") {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let lines = fs::read_to_string(root().join(&path))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= FILE, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_module_is_over_20_percent_of_the_lines() {
    let mut sizes = BTreeMap::<String, usize>::new();
    for source in sources() {
        *sizes.entry(source.module().to_owned()).or_default() += source.text.lines().count();
    }
    let all: usize = sizes.values().sum();
    let large = sizes
        .iter()
        .filter(|(_, lines)| **lines * 100 > all * MODULE);
    let large: Vec<_> = large.map(|(module, _)| module.as_str()).collect();
    assert!(large.is_empty(), "{sizes:?}");
}
