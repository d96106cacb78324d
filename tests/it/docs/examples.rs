//! The examples that users type are understood: each `$ bivouac ...` of the README and of
//! the manual pages is parsed as the command line would parse it.

use std::fs;

use crate::architecture::root;

/// The words of a shell line as far as the first operator or comment: quotes count,
/// nothing is expanded.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '<' | ';' | '&') => break,
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The words of each line of `lines` that calls bivouac, variables before it left out.
fn calls(lines: impl Iterator<Item = String>) -> Vec<Vec<String>> {
    lines
        .map(|line| shell_words(&line))
        .map(|words| {
            let assignment = |word: &String| word.contains('=') && !word.starts_with('-');
            words.into_iter().skip_while(assignment).collect()
        })
        .filter(|words: &Vec<String>| words.first().is_some_and(|word| word == "bivouac"))
        .collect()
}

fn check(place: &str, calls: &[Vec<String>], at_least: usize) {
    assert!(
        calls.len() >= at_least,
        "{place} has {} examples",
        calls.len()
    );
    for call in calls {
        if let Err(error) = bivouac::cli::definition().try_get_matches_from(call) {
            assert!(!error.use_stderr(), "{place}: {}\n{error}", call.join(" "));
        }
    }
}

/// The lines typed in fenced blocks: those behind `$ `, joined where they end in `\`.
pub fn fenced(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut continued = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = !inside && ["console", "sh"].contains(&kind);
            continue;
        }
        let typed = line.strip_prefix("$ ");
        if !inside || (typed.is_none() && !continued) {
            continue;
        }
        let part = typed.unwrap_or(line);
        let (part, more) = match part.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (part, false),
        };
        match lines.last_mut() {
            Some(last) if continued => *last = format!("{last}{part}"),
            _ => lines.push(part.to_owned()),
        }
        continued = more;
    }
    lines
}

#[test]
fn the_readmes_examples_are_understood() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    check("README.md", &calls(fenced(&text).into_iter()), 12);
}

#[test]
fn the_manual_pages_examples_are_understood() {
    for entry in fs::read_dir(root().join("man")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // mdoc's \(dq is a quote.
        let lines = text.lines().map(|line| line.replace("\\(dq", "\""));
        let lines = lines.filter_map(|line| {
            let typed = line.strip_prefix(".Dl $ ").or(line.strip_prefix("$ "));
            typed.map(|typed| typed.replace("source <(", "").replace(')', ""))
        });
        check(&path.display().to_string(), &calls(lines), 2);
    }
}

#[test]
fn the_readmes_scripts_exist() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut found = 0;
    for line in fenced(&text) {
        for word in shell_words(&line)
            .iter()
            .filter(|w| w.starts_with("scripts/"))
        {
            assert!(root().join(word).is_file(), "{word}");
            found += 1;
        }
    }
    assert!(found >= 2);
}

#[test]
fn a_shell_line_is_split_as_a_shell_does() {
    assert_eq!(
        shell_words("bivouac run --append 'a b' \"c d\"e # no\n"),
        ["bivouac", "run", "--append", "a b", "c de"]
    );
    assert_eq!(
        shell_words("bivouac chain x | jq ."),
        ["bivouac", "chain", "x"]
    );
}
