//! The files and tests that the documents name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::root;

const DOCUMENTS: [&str; 5] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "RELEASING.md",
    "SPECIFICATION.md",
];

/// Where the paths of the documents begin: ARCHITECTURE.md says that those of its flows begin in
/// `src`, and each table of a module names its own files.
const BASES: [&str; 7] = [
    "",
    "src",
    "src/launch",
    "src/commands",
    "src/commands/args",
    "src/agent",
    "src/image",
];

/// What stands in back-quotes, without blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside
        .flat_map(|text| text.lines())
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => rust_files(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The names of all functions of the project.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests/it"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for after in text.split("fn ").skip(1) {
            let end = after.find(|c: char| !c.is_alphanumeric() && c != '_');
            names.insert(after[..end.unwrap_or(after.len())].to_owned());
        }
    }
    names
}

fn is_test_name(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(plain) && word.matches('_').count() >= 3
}

fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    // NAME stands for any.
    word.chars().all(plain) && word.ends_with(".rs") && !word.contains("NAME")
}

#[test]
fn files_and_tests_that_the_documents_name_are_there() {
    let functions = functions();
    let mut missing = Vec::new();
    let (mut tests, mut paths) = (0, 0);
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for word in quoted(&text) {
            if is_test_name(word) {
                tests += 1;
                if !functions.contains(word) {
                    missing.push(format!("{document}: no test {word}"));
                }
            } else if is_path(word) && word.contains('/') {
                paths += 1;
                let is_there = |base: &&str| root().join(base).join(word).exists();
                if !BASES.iter().any(|base| is_there(&base)) {
                    missing.push(format!("{document}: no file {word}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
    assert!(tests > 80 && paths > 60, "{tests} tests, {paths} files");
}
