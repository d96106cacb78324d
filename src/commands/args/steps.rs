//! What is done in a machine before it is restored: each `--prepare` with the options that stand
//! before it, and the files that are left for the command itself.

use std::ffi::OsString;

use super::command::ContextArgs;
use super::command_line::CommandLine;
use crate::launch::spec::{CopySpec, Step};
use crate::text::escape::shell_line;

/// Ids of options that belong to steps, not to the machine.
const OF_STEPS: [&str; 5] = ["copy_in", "prepare", "env", "user", "workdir"];

/// The steps, and what is copied in after the last of them.
pub(crate) fn steps(
    prepare: &[OsString],
    copy_in: &[CopySpec],
    context: &ContextArgs,
    typed: &CommandLine,
) -> (Vec<Step>, Vec<CopySpec>) {
    let copies = typed.places("copy_in").into_iter().zip(copy_in);
    let mut copies = copies.peekable();
    let mut steps = Vec::new();
    let mut before = 0;
    for (place, script) in typed.places("prepare").into_iter().zip(prepare) {
        let mut own = Vec::new();
        while let Some((_, copy)) = copies.next_if(|(copied, _)| *copied < place) {
            own.push(copy.clone());
        }
        let argv = ["/bin/sh".into(), "-c".into(), script.clone()];
        let mut command = before_place(context, typed, place).command(&argv);
        // As that of the run itself.
        command.clear_env = true;
        steps.push(Step {
            copies: own,
            command,
            shell_before: shell_before(typed, before, place),
        });
        before = place;
    }
    let rest = copies.map(|(_, copy)| copy.clone()).collect();
    (steps, rest)
}

/// How the step that was typed at `place` is run.
fn before_place(context: &ContextArgs, typed: &CommandLine, place: usize) -> ContextArgs {
    let is_before = |id| typed.places(id).first().is_some_and(|typed| *typed < place);
    let env = typed.places("env").into_iter().zip(&context.env);
    ContextArgs {
        user: context.user.clone().filter(|_| is_before("user")),
        workdir: context.workdir.clone().filter(|_| is_before("workdir")),
        env: env
            .filter(|(typed, _)| *typed < place)
            .map(|(_, variable)| variable.clone())
            .collect(),
    }
}

/// The command line of a terminal in the machine between the step that was typed at `before`, 0 for
/// none, and the next one at `place`.
fn shell_before(typed: &CommandLine, before: usize, place: usize) -> Option<String> {
    let image = typed.image.clone()?;
    let mut words: Vec<OsString> = ["bivouac", "run", "--warm", "--tty"]
        .map(OsString::from)
        .into();
    for option in &typed.options {
        let id = option.id.as_str();
        let is_wanted = match id {
            "copy_in" | "prepare" => option.place <= before,
            // The environment sets it again.
            _ if option.place == 0 => false,
            id if OF_STEPS.contains(&id) => option.place < place,
            _ => true,
        };
        if is_wanted {
            words.push(option.word.clone());
        }
    }
    words.push(image);
    Some(shell_line(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::args::prepare::PrepareArgs;
    use crate::protocol::ByteString;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        typed: CommandLine,
        image: Option<OsString>,
        #[command(flatten)]
        prepare: PrepareArgs,
        #[arg(long)]
        memory: Option<String>,
    }

    fn steps_of(words: &[&str]) -> (Vec<Step>, Vec<CopySpec>) {
        let words = std::iter::once("test").chain(words.iter().copied());
        let words = Words::try_parse_from(words).unwrap();
        words.prepare.steps(&words.typed)
    }

    fn script(step: &Step) -> String {
        step.command.argv[2].to_string()
    }

    #[test]
    fn a_step_takes_what_stands_before_it() {
        let (steps, rest) = steps_of(&[
            "--copy-in=a:/a",
            "--env=A=1",
            "--prepare=one",
            "image.raw",
            "--user=daemon",
            "--copy-in=b:/b",
            "--copy-in=c:/c",
            "--env=B=2",
            "--memory=1G",
            "--prepare=two",
            "--workdir=/w",
            "--copy-in=d:/d",
        ]);
        let sources = |copies: &[CopySpec]| -> Vec<String> {
            let sources = copies
                .iter()
                .map(|copy| copy.source.to_str().unwrap().to_owned());
            sources.collect()
        };
        assert_eq!(
            steps.iter().map(script).collect::<Vec<_>>(),
            ["\"one\"", "\"two\""]
        );
        assert_eq!(sources(&steps[0].copies), ["a"]);
        assert_eq!(sources(&steps[1].copies), ["b", "c"]);
        assert_eq!(sources(&rest), ["d"]);
        let variable = |name: &str, value: &str| (ByteString::from(name), ByteString::from(value));
        assert_eq!(steps[0].command.env, [variable("A", "1")]);
        assert_eq!(
            steps[1].command.env,
            [variable("A", "1"), variable("B", "2")]
        );
        assert_eq!(steps[0].command.user, None);
        assert!(steps[1].command.user.is_some());
        assert_eq!(steps[1].command.workdir, None);
        assert!(steps.iter().all(|step| step.command.clear_env));
        // A terminal is opened as the step would run.
        assert_eq!(
            steps[0].shell_before.as_ref().unwrap(),
            "bivouac run --warm --tty --env=A=1 --memory=1G image.raw"
        );
        assert_eq!(
            steps[1].shell_before.as_ref().unwrap(),
            "bivouac run --warm --tty --copy-in=a:/a --env=A=1 --prepare=one --user=daemon \
             --env=B=2 --memory=1G image.raw"
        );
    }

    #[test]
    fn without_a_step_all_is_for_the_command() {
        let (steps, rest) = steps_of(&["--copy-in=a:/a", "image.raw"]);
        assert_eq!((steps.len(), rest.len()), (0, 1));
    }
}
