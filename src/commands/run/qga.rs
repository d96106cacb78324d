//! A command by way of the QEMU guest agent of the image: `--via qga`.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};

use crate::commands::args::agent::GuestArgs;
use crate::exit::Status;
use crate::launch::Failure;
use crate::machine::stdio::{self, OutputMode};
use crate::session::qga::{Command, INPUT_MAX, Qga, QgaError};

/// Where programs are, for a command whose variables are all told.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command, in this agent's terms. It refuses options that this agent cannot serve, and input
/// that is too large.
pub(super) fn command(guest: &GuestArgs, input: Vec<u8>) -> Result<Command, Failure> {
    if input.len() as u64 > INPUT_MAX {
        let most = INPUT_MAX >> 20;
        return Err(anyhow!("the QEMU guest agent takes no more than {most} MiB of input").into());
    }
    let run = &guest.run;
    let asked = [
        ("--tty", run.tty),
        ("--user", run.context.user.is_some()),
        ("--workdir", run.context.workdir.is_some()),
        ("--copy-in", !guest.copy_in.is_empty()),
        ("--copy-out", !guest.copy_out.is_empty()),
        ("--hostname", guest.hostname.is_some()),
        ("--new-machine-id", guest.new_machine_id),
    ];
    if let Some((option, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(Failure::with_hint(
            anyhow!("{option} cannot be had from the QEMU guest agent"),
            "--via inject, if the image holds a Linux system",
        ));
    }
    let text = |word: &std::ffi::OsStr| {
        let text = word.to_str().map(str::to_owned);
        text.with_context(|| format!("{}: the QEMU guest agent takes UTF-8", word.display()))
    };
    let mut env = Vec::new();
    for (name, value) in &run.context.env {
        if let Some(value) = value.clone().or_else(|| std::env::var_os(name)) {
            env.push(format!("{}={}", text(name)?, text(&value)?));
        }
    }
    if !env.is_empty() && !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    let argv = guest.command.iter().map(|word| text(word));
    Ok(Command {
        argv: argv.collect::<Result<_, _>>()?,
        env,
        input,
    })
}

/// All of standard input, which this agent takes in one piece, or a little more than it takes;
/// nothing from a terminal.
pub(super) async fn input() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    if std::io::stdin().is_terminal() {
        return Ok(input);
    }
    let mut chunks = stdio::input().context("starting a thread for the input")?;
    while let Some(chunk) = chunks.recv().await {
        input.extend_from_slice(&chunk);
        if input.len() as u64 > INPUT_MAX {
            break;
        }
    }
    Ok(input)
}

/// Runs the command, passes its output on, and gives its status.
pub async fn run(qga: &mut Qga, command: Command) -> Result<Status, Failure> {
    let program = command.argv.first().cloned().unwrap_or_default();
    let ended = qga.run(command).await;
    let ended = ended.map_err(|error| refused(&program, error))?;
    let streams = [
        (ended.out_data, stdio::output(OutputMode::Text)),
        (ended.err_data, stdio::error_output(OutputMode::Text)),
    ];
    for (bytes, sink) in streams {
        let (sink, written) = sink.context("starting a thread for the output")?;
        // A closed output is not our error.
        let _ = sink.send(bytes.unwrap_or_default()).await;
        drop(sink);
        let _ = written.await;
    }
    if ended.out_truncated == Some(true) || ended.err_truncated == Some(true) {
        tracing::warn!(
            "the command wrote more than the QEMU guest agent collects; the rest is lost"
        );
    }
    let signal = ended.signal.and_then(|signal| i32::try_from(signal).ok());
    Ok(Status::Guest(match (ended.exitcode, signal) {
        (_, Some(signal)) => Status::Signalled(signal).code(),
        // A status on Windows has 32 bits; the lowest eight are passed on.
        (Some(code), None) => code as u8,
        (None, None) => Status::Failed.code(),
    }))
}

/// Only the text of the agent's refusal tells that a program does not exist.
fn refused(program: &str, error: QgaError) -> Failure {
    let running = format!("running {program:?} in the guest");
    let said = match &error {
        QgaError::Refused(why) => why.as_str(),
        _ => "",
    };
    let status = match said {
        why if why.contains("No such file or directory") => Status::NotFound,
        why if why.contains("Permission denied") || why.contains("Exec format error") => {
            Status::NotInvocable
        }
        _ => return Failure::from(error).context(running),
    };
    Failure {
        status,
        ..Failure::from(error).context(running)
    }
}
