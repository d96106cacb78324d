//! The manual pages are in step with the command line, and render without a warning.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bivouac::protocol::warning::WarningCode;

use super::{commands, words};
use crate::architecture::root;

/// A page's path and its text. The commands of a command stand in its page.
pub fn page(command: &clap::Command) -> (PathBuf, String) {
    let words = words(command);
    let name = match words.first() {
        Some(word) => format!("bivouac-{word}"),
        None => "bivouac".to_owned(),
    };
    let path = root().join(format!("man/{name}.1"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (path, text)
}

/// The long options on the lines of `text` that begin with `lead`: mdoc's `Fl Fl NAME`.
fn long_options(text: &str, lead: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with(lead)) {
        let words: Vec<_> = line.split_whitespace().collect();
        for three in words.windows(3) {
            if three[0].trim_start_matches('.') == "Fl" && three[1] == "Fl" {
                found.insert(three[2].to_owned());
            }
        }
    }
    found
}

#[test]
fn every_option_of_a_command_stands_in_its_page_and_no_other_does() {
    let global = BTreeSet::from(["verbose", "quiet", "help", "version"].map(str::to_owned));
    for command in commands().iter().filter(|command| words(command).len() < 2) {
        let (path, text) = page(command);
        let path = path.display();
        let own: Vec<_> = match command.get_name() {
            "bivouac" => vec![],
            _ => command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .collect(),
        };
        let mut options: BTreeSet<_> = (command.get_arguments())
            .chain(own.iter().flat_map(|sub| sub.get_arguments()))
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        if command.get_name() != "bivouac" {
            options = &options - &global;
            // Pointed to in bivouac(1).
            assert!(long_options(&text, ".").is_superset(&global), "{path}");
        }
        assert_eq!(long_options(&text, ".It"), options, "{path}");
    }
}

#[test]
fn every_option_that_a_page_mentions_exists() {
    let known: BTreeSet<_> = commands()
        .iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect();
    for command in commands() {
        let (path, text) = page(&command);
        let unknown = &long_options(&text, ".") - &known;
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[test]
fn short_options_values_and_commands_stand_in_the_pages() {
    for command in commands() {
        let (path, text) = page(&command);
        let path = path.display();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let item = format!(".It Cm {}\n", sub.get_name());
            assert!(text.contains(&item), "{path}: {item}");
        }
        for argument in command.get_arguments().filter(|a| !a.is_global_set()) {
            if let Some(short) = argument.get_short().filter(|s| !"hVvq".contains(*s)) {
                assert!(
                    text.contains(&format!(".It Fl {short} ")),
                    "{path}: -{short}"
                );
            }
            if !argument.get_action().takes_values() {
                continue;
            }
            for value in argument.get_possible_values() {
                let listed = text.lines().any(|line| {
                    line.contains("Cm ")
                        && line.split([' ', '|', ',']).any(|w| w == value.get_name())
                });
                assert!(listed, "{path}: {} of {argument}", value.get_name());
            }
        }
    }
}

#[test]
fn every_variable_of_the_environment_stands_in_the_pages() {
    for command in commands() {
        let (path, text) = page(&command);
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env() else {
                continue;
            };
            let item = format!(".It Ev {}\n", variable.to_string_lossy());
            assert!(text.contains(&item), "{}: {item}", path.display());
            assert!(page(&commands()[0]).1.contains(&item), "bivouac.1: {item}");
        }
    }
}

#[test]
fn every_page_has_the_sections_that_users_look_for() {
    let wanted = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "ENVIRONMENT",
        "FILES",
        "EXIT STATUS",
        "EXAMPLES",
        "SEE ALSO",
        "SECURITY CONSIDERATIONS",
    ];
    for command in commands() {
        let (path, text) = page(&command);
        let sections: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix(".Sh "))
            .collect();
        let order: Vec<_> = sections.iter().filter(|s| wanted.contains(s)).collect();
        assert_eq!(
            order,
            wanted.iter().collect::<Vec<_>>(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_exit_status_stands_in_the_pages() {
    for name in ["bivouac.1", "bivouac-run.1"] {
        let text = fs::read_to_string(root().join("man").join(name)).unwrap();
        for status in ["0", "122", "123", "124", "125", "128+N"] {
            assert!(
                text.contains(&format!("\n.It {status}\n")),
                "{name}: {status}"
            );
        }
    }
}

#[test]
fn every_code_of_a_warning_stands_in_the_page_of_inspect() {
    let source = fs::read_to_string(root().join("src/protocol/warning.rs")).unwrap();
    let variants = source.split("pub enum WarningCode {").nth(1).unwrap();
    let variants = variants.split('}').next().unwrap().lines();
    let variants = variants.filter_map(|line| line.trim().strip_suffix(','));
    let text = fs::read_to_string(root().join("man/bivouac-inspect.1")).unwrap();
    let listed: Vec<_> = (text.lines())
        .filter_map(|line| line.strip_prefix(".It Li "))
        .collect();
    let codes: Vec<String> = variants
        .map(|variant| {
            let code = kebab(variant);
            // As serde has it.
            serde_json::from_value::<WarningCode>(code.clone().into()).unwrap();
            code
        })
        .collect();
    assert_eq!(listed, codes);
}

/// A name such as `NotMounted` as `not-mounted`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[test]
fn every_field_of_a_report_stands_in_the_page_of_run() {
    let dir = tempfile::tempdir().unwrap();
    let (image, report) = (dir.path().join("disk.raw"), dir.path().join("report"));
    fs::write(&image, [0; 4096]).unwrap();
    let output = super::bivouac()
        .args([
            "run",
            "--dry-run",
            "--accel",
            "tcg",
            "--qemu",
            "true",
            "--report",
        ])
        .args([&report, &image])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let text = fs::read_to_string(root().join("man/bivouac-run.1")).unwrap();
    let documented: BTreeSet<_> = text.split([' ', '\n', '(']).collect();
    let mut fields = BTreeSet::new();
    collect_fields(&report, &mut fields);
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(documented.contains(field.as_str()), "{field}");
    }
}

fn collect_fields(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                collect_fields(value, found);
            }
        }
        serde_json::Value::Array(array) => {
            array.iter().for_each(|value| collect_fields(value, found));
        }
        _ => {}
    }
}
