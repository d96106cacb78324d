//! Runs a command in a throwaway machine of an image, by means of the library, and prints its output:
//!
//!     run IMAGE PROGRAM [ARGUMENT...]
//!
//! After the first run, machines are restored from a template. A program that uses the library has to be
//! linked statically, because it is the agent in the guest, too: copy bivouac's `build.rs` into your
//! package, or set `-C target-feature=+crt-static` as bivouac's `.cargo/config.toml` does.

#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use bivouac::launch::{
    Command, ExecEnd, Failure, Quiet, Session, StartMode, Stdio, VmSpec, with_vm,
};
use tokio::io::AsyncReadExt;

fn main() -> ExitCode {
    // The same program is the agent in the guest.
    if bivouac::agent::is_wanted() {
        return bivouac::agent::main();
    }
    let mut words = std::env::args().skip(1);
    let Some(image) = words.next() else {
        let _ = writeln!(std::io::stderr(), "usage: run IMAGE PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let spec = VmSpec {
        start: StartMode::Warm,
        ..VmSpec::of_image(image)
    };
    let command = Command::new(words);
    let end = with_vm(&spec, &Quiet, async |vm| {
        vm.run(async |session| run(session, command).await).await
    });
    match end {
        Ok(ExecEnd::Exited(status)) => status.into(),
        Ok(other) => {
            let _ = writeln!(std::io::stderr(), "run: the command ended by {other:?}");
            ExitCode::FAILURE
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "run: {:#}", failure.error);
            if let Some(hint) = failure.hint {
                let _ = writeln!(std::io::stderr(), "hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Copies the command's output to standard output as it comes.
async fn run(session: &Session, command: Command) -> Result<ExecEnd, Failure> {
    let stdio = Stdio {
        stdout: true,
        ..Stdio::default()
    };
    let mut exec = session.exec_with(command, stdio).await?;
    if let Some(mut output) = exec.stdout.take() {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = output
                .read(&mut buffer)
                .await
                .context("reading its output")?;
            if read == 0 {
                break;
            }
            let mut stdout = std::io::stdout();
            stdout.write_all(&buffer[..read]).context("writing")?;
        }
    }
    Ok(exec.wait().await?)
}
