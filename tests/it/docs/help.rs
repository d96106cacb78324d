//! The help texts, as they are printed on 100 columns.

use super::{bivouac, commands, words};

#[test]
fn each_command_has_its_help_short_and_long() {
    for command in commands() {
        // `df -h` is what people are used to.
        let is_taken = (command.get_arguments())
            .any(|argument| argument.get_short() == Some('h') && argument.get_id() != "help");
        for flag in ["-h", "--help"] {
            if flag == "-h" && is_taken {
                continue;
            }
            let words = words(&command);
            let output = bivouac().args(&words).arg(flag).output().unwrap();
            assert_eq!(output.status.code(), Some(0));
            assert!(output.stderr.is_empty());
            let text = String::from_utf8(output.stdout).unwrap();
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{text}");
            let kind = if flag == "-h" { "summary" } else { "help" };
            insta::assert_snapshot!(
                [&["bivouac".into()], &words[..], &[kind.into()]]
                    .concat()
                    .join("_"),
                text
            );
        }
    }
}

#[test]
fn no_help_is_that_of_the_code() {
    for command in commands() {
        let about = command.get_about().unwrap_or_default().to_string();
        assert!(!about.is_empty() && !about.contains("Argument"), "{about}");
        for argument in command.get_arguments() {
            let help = argument.get_help().unwrap_or_default().to_string();
            assert!(!help.is_empty(), "{argument} of {about}");
            assert!(!help.ends_with('.'), "{help}");
        }
    }
}

#[test]
fn the_version_is_printed_and_is_no_failure() {
    let output = bivouac().arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("bivouac {}\n", env!("CARGO_PKG_VERSION")));
}
