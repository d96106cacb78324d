//! The source text as a lint sees it: comments, string literals and test modules apart.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::root;

/// One file below `src`.
pub struct Source {
    /// Relative to the project, such as `src/image/chain.rs`.
    path: PathBuf,
    text: String,
    /// The text with comments, literals and test modules blanked; lines stay lines.
    code: String,
}

/// Every file of the library and the binary, test files left out.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut queue = vec![root().join("src")];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test_file(&path) {
                found.push(Source::read(&path));
            }
        }
    }
    assert!(found.len() > 40, "the sources are found");
    found
}

fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests") || path.iter().any(|part| part == "tests")
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = without_tests(&without_comments_and_literals(&text));
        let path = path.strip_prefix(root()).unwrap().to_owned();
        Self { path, text, code }
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines as they stand, numbered from 1.
    pub fn text_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line))
    }

    /// The top module that the file belongs to; `lib` and `main` for the two roots.
    pub fn module(&self) -> &str {
        let first = self.path.iter().nth(1).unwrap().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    pub fn is_below(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// `FILE:LINE: WORD` for each of `words` in the code.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (number, line) in self.code.lines().enumerate() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{self}:{}: {word}", number + 1));
            }
        }
        found
    }

    /// The same, where the line does not have `but`.
    pub fn lines_with_but(&self, words: &[&str], but: &str) -> Vec<String> {
        let lines: Vec<&str> = self.code.lines().collect();
        let mut found = self.lines_with(words);
        found.retain(|place| {
            let number = place
                .rsplit(": ")
                .nth(1)
                .and_then(|at| at.rsplit(':').next());
            let number: usize = number.unwrap().parse().unwrap();
            !lines[number - 1].contains(but)
        });
        found
    }

    /// The top modules of ours that the code names, each with its line: by `crate::`, alone
    /// or in braces, or by as many `super::` as lead there.
    pub fn modules_named(&self) -> Vec<(usize, String)> {
        let depth = self.depth();
        let mut found = Vec::new();
        let mut paths: Vec<(usize, usize)> = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            // `$crate::` and `some_crate::` are others.
            let before = self.code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "_$".contains(c)) {
                paths.push((at, at + "crate::".len()));
            }
        }
        let up = "super::".repeat(depth);
        for (at, _) in self.code.match_indices(&up) {
            if depth > 0 && !self.code[..at].ends_with("super::") {
                paths.push((at, at + up.len()));
            }
        }
        for (at, end) in paths {
            let line = self.code[..at].matches('\n').count() + 1;
            found.extend(heads(&self.code[end..]).map(|name| (line, name)));
        }
        found
    }

    /// How many `super` lead from here to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.iter().count() - 1;
        match self.path.file_name().unwrap().to_str().unwrap() {
            "lib.rs" | "main.rs" => 0,
            "mod.rs" => parts - 1,
            _ => parts,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// Whether `line` has `word`, and not as the end of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins = word.chars().next();
    let ends = word.chars().next_back();
    line.match_indices(word).any(|(at, _)| {
        let before = joins(line[..at].chars().next_back()) && joins(begins);
        let after = joins(line[at + word.len()..].chars().next()) && joins(ends);
        !before && !after
    })
}

/// The first segments of what follows `crate::`: one name, or those within the braces.
fn heads(rest: &str) -> impl Iterator<Item = String> {
    let mut heads = Vec::new();
    let mut wanted = true;
    let mut level = 0;
    let mut name = String::new();
    for c in rest.chars() {
        if c.is_alphanumeric() || c == '_' {
            if wanted {
                name.push(c);
            }
            continue;
        }
        if !name.is_empty() {
            heads.push(std::mem::take(&mut name));
            wanted = false;
        }
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 1 => wanted = true,
            _ => {}
        }
        if level <= 0 && !heads.is_empty() {
            break;
        }
    }
    heads.extend((!name.is_empty()).then_some(name));
    heads.into_iter()
}

/// Comments, strings and characters turned into blanks.
fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = comment(&chars[at..])
            .or_else(|| literal(&chars, at))
            .unwrap_or(0);
        if length == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        for &c in &chars[at..at + length] {
            out.push(if c == '\n' { '\n' } else { ' ' });
        }
        at += length;
    }
    out
}

fn comment(rest: &[char]) -> Option<usize> {
    if rest.starts_with(&['/', '/']) {
        return Some(rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(&['/', '*']) {
        let end = rest.windows(2).skip(2).position(|two| two == ['*', '/']);
        return Some(end.map_or(rest.len(), |end| end + 4));
    }
    None
}

/// The length of a string or character literal that starts at `at`.
fn literal(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest[0] {
        '"' => Some(quoted(rest, '"')),
        // A life time has no closing quote.
        '\'' if rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'') => {
            Some(quoted(rest, '\''))
        }
        'r' if !in_word || matches!(chars[at - 1], 'b' | 'c') => {
            let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            if rest.get(1 + hashes) != Some(&'"') {
                return None;
            }
            let end: Vec<char> = "\"".chars().chain("#".repeat(hashes).chars()).collect();
            let body = 2 + hashes;
            let found = rest[body..].windows(end.len()).position(|w| w == end);
            Some(found.map_or(rest.len(), |found| body + found + end.len()))
        }
        _ => None,
    }
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Each `#[cfg(test)] mod NAME { ... }` turned into blank lines.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let rest = &out[start..];
        let open = rest.find('{').unwrap_or(rest.len());
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let end = if semicolon < open {
            semicolon + 1
        } else {
            closing(rest, open)
        };
        let blank: String = rest[..end].chars().filter(|&c| c == '\n').collect();
        out.replace_range(start..start + end, &blank);
    }
    out
}

fn closing(rest: &str, open: usize) -> usize {
    let mut level = 0;
    for (at, c) in rest[open..].char_indices() {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            _ => {}
        }
        if level == 0 {
            return open + at + 1;
        }
    }
    rest.len()
}

#[test]
fn a_lint_sees_code_and_neither_comments_literals_nor_tests() {
    let text = "a(); // unsafe\n/* unsafe */ \"unsafe \\\" unsafe\" r#\"un\"safe\"# 'x' b'\\'' b();\n\
                fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests { fn g() { unsafe {} } }\nc();\n";
    let code = without_tests(&without_comments_and_literals(text));
    assert_eq!(code.matches("unsafe").count(), 0, "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    for kept in ["a();", "b();", "f<'a>(x: &'a str)", "c();"] {
        assert!(code.contains(kept), "{kept} in {code}");
    }
    let heads = |text| heads(text).collect::<Vec<_>>();
    assert_eq!(heads("image::Format;"), ["image"]);
    assert_eq!(
        heads("{host::{kvm, qemu}, image::Format};"),
        ["host", "image"]
    );
}
