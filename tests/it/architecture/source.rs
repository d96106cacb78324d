//! The source text, line by line, without comments, literals and test modules, as far as a lint
//! of imports and words needs it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// One file below `src`.
pub struct Source {
    /// Relative to the project, such as `src/image/chain.rs`.
    pub path: PathBuf,
    pub text: String,
    /// Each line of code; one that is a comment or part of a test module is empty.
    lines: Vec<String>,
}

/// Every file of the library and the binary, test files left out.
pub fn sources() -> Vec<Source> {
    let files = files_below("src").into_iter();
    let found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "rs") && !is_test(path))
        .map(Source::read)
        .collect();
    assert!(found.len() > 40, "the sources are found");
    found
}

/// Every file below a directory of the project, by its path in the project.
pub fn files_below(place: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![root().join(place)];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => queue.push(path),
                false => found.push(path.strip_prefix(root()).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests") || path.iter().any(|part| part == "tests")
}

impl Source {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let lines = code_lines(&text);
        Self { path, text, lines }
    }

    /// The top module that the file belongs to; `lib` and `main` for the two roots.
    pub fn module(&self) -> &str {
        let first = self.path.iter().nth(1).unwrap().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The file's own module as a path from the crate's root; empty for `lib.rs`.
    pub fn module_path(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src").unwrap().with_extension("");
        let mut parts: Vec<String> = path
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if ["mod", "lib", "main"].contains(&parts.last().map_or("", String::as_str)) {
            parts.pop();
        }
        parts
    }

    pub fn is_below(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// The lines of code, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.lines.iter().map(String::as_str))
    }

    /// `FILE:LINE: WORD` for each of `words` in the code.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        self.lines_with_but(words, None)
    }

    /// The same, where the line does not have `but`.
    pub fn lines_with_but(&self, words: &[&str], but: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        for (number, line) in self.lines() {
            if but.is_some_and(|but| line.contains(but)) {
                continue;
            }
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{self}:{number}: {word}"));
            }
        }
        found
    }

    /// Every path of ours that the code names, as segments from the crate's root, each with its
    /// line: behind `crate::`, `super::` or `self::`, alone or in braces.
    pub fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let code = self.lines.join("\n");
        let own = self.module_path();
        let mut found = Vec::new();
        for root in ["crate::", "super::", "self::"] {
            for (at, _) in code.match_indices(root) {
                // `$crate::`, `some_crate::`, and what continues `super::super::`.
                let before = code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
                    continue;
                }
                let line = code[..at].matches('\n').count() + 1;
                let mut rest = &code[at..];
                let mut base = own.clone();
                if let Some(behind) = rest.strip_prefix("crate::") {
                    (rest, base) = (behind, Vec::new());
                }
                rest = rest.strip_prefix("self::").unwrap_or(rest);
                while let Some(behind) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = behind;
                }
                found.extend(
                    expand(rest)
                        .into_iter()
                        .map(|path| (line, [&base[..], &path].concat())),
                );
            }
        }
        found
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The text with comments and the contents of plain strings taken out, and without test modules.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    // The indentation of a test item whose end is awaited; it ends at `}` or `;` there.
    let mut skipped: Option<usize> = None;
    let mut is_declared = false;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let code = without_literals(line);
        if code.trim() == "#[cfg(test)]" {
            (skipped, is_declared) = (Some(indent), true);
        } else if let Some(outer) = skipped {
            let is_end = indent == outer && code.trim_start().starts_with('}');
            let is_short = is_declared && code.trim_end().ends_with([';', '}']);
            if is_end || is_short {
                skipped = None;
            }
            is_declared &= code.trim_start().starts_with("#[");
        } else {
            lines.push(code);
            continue;
        }
        lines.push(String::new());
    }
    lines
}

/// A line without its comment, and with nothing between quotes. A string of several lines is
/// not seen as one, which is enough for words that are paths.
fn without_literals(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = chars.next() {
        match (is_quoted, c) {
            (true, '\\') => _ = chars.next(),
            (_, '"') => is_quoted = !is_quoted,
            (true, _) => {}
            (false, '/') if chars.peek() == Some(&'/') => break,
            // The character `"` would open a string.
            (false, '\'') if chars.peek() == Some(&'"') => _ = chars.nth(1),
            (false, _) => out.push(c),
        }
    }
    out
}

/// Whether `line` has `word`, and not as a part of a longer word.
pub fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (begins, ends) = (word.chars().next(), word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let before = joins(line[..at].chars().next_back()) && joins(begins);
        let after = joins(line[at + word.len()..].chars().next()) && joins(ends);
        !before && !after
    })
}

/// The paths that `a::{b, c::{d, self}} ...` stands for, as segments.
pub fn expand(rest: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut bases: Vec<Vec<String>> = Vec::new();
    let (mut path, mut name): (Vec<String>, String) = (Vec::new(), String::new());
    // A word behind a blank is no segment (`as x`, or the next item where nothing is open).
    let mut is_over = false;
    // Whether the path is more than what stands before the braces.
    let mut has_new = false;
    for c in rest.chars().chain([';']) {
        if c.is_alphanumeric() || c == '_' {
            if !is_over {
                name.push(c);
            }
            continue;
        }
        // `a::{self}` is `a`.
        let is_new = !name.is_empty();
        if is_new && name != "self" {
            path.push(name.clone());
        }
        has_new |= is_new;
        name.clear();
        match c {
            ':' => {}
            '{' => {
                bases.push(path.clone());
                (is_over, has_new) = (false, false);
            }
            ',' | '}' if !bases.is_empty() => {
                if has_new && !path.is_empty() {
                    found.push(path.clone());
                }
                if c == '}' {
                    bases.pop();
                }
                path = bases.last().cloned().unwrap_or_default();
                (is_over, has_new) = (c == '}', false);
                if bases.is_empty() {
                    return found;
                }
            }
            c if c.is_whitespace() && !bases.is_empty() => is_over |= has_new,
            _ => {
                if !path.is_empty() {
                    found.push(path);
                }
                return found;
            }
        }
    }
    found
}

#[test]
fn code_has_neither_comments_literals_nor_tests() {
    let text = "a(); // no\n//! no\nb(\"no \\\" no\", '\"');\n#[cfg(test)]\nmod tests {\n    fn no() {}\n}\n\
                c();\n#[cfg(test)]\nmod no;\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod no;\nd();\n";
    let lines = code_lines(text);
    assert_eq!(lines.len(), text.lines().count());
    let code: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(code, ["a(); ", "b(, );", "c();", "d();"]);
}

#[test]
fn paths_are_read_alone_and_in_braces() {
    let paths = |text| {
        let found = expand(text).into_iter().map(|path| path.join("::"));
        found.collect::<Vec<_>>()
    };
    assert_eq!(paths("image::Format;"), ["image::Format"]);
    assert_eq!(paths("run(x)"), ["run"]);
    assert_eq!(
        paths("{host::{kvm, qemu as q}, image::{self, Format}};\nuse x::y;"),
        ["host::kvm", "host::qemu", "image", "image::Format"]
    );
    assert_eq!(paths("a::{\n    b,\n    c,\n};"), ["a::b", "a::c"]);
}
