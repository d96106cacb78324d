//! Runs a command for a request: its input, its output, and its end.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{Instant, timeout};

use super::errors::name_of;
use super::handle::Handle;
use super::hub::Hub;
use super::limits::{before, bytes_wanted, out_of_time, seconds};
use super::output::Sink;
use super::running_commands::Slot;
use crate::appliance::boot::ROOT;
use crate::commands::args::command::parse_user;
use crate::exit::Status;
use crate::protocol::{ByteString, Command, WindowSize};
use crate::rpc::exec::{Exec, ExecResult, SignalName, StreamName};
use crate::rpc::{Data, ErrorKind, Id, RpcError};
use crate::session::{Exec as RunningExec, ExecEnd, SessionError, Stdio, StreamWriter};

/// How long a command may take to end once it was killed.
const KILLED: Duration = Duration::from_secs(5);

/// Runs a command and waits for its end. `id` is that of its request.
pub(super) async fn run(
    hub: &Hub,
    id: Option<&Id>,
    slot: Slot,
    mut request: Exec,
) -> Result<ExecResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let (stream, limit) = (request.stream, bytes_wanted(request.limit)?);
    let (input, keeps_open) = (request.stdin.take(), request.open_stdin);
    let input = input.map(|data| data.bytes("stdin")).transpose()?;
    let time = request.timeout.map(seconds).transpose()?;
    let has_stderr = request.tty.is_none();
    let command = command(&handle, request)?;
    let sink = |name| match (stream, id) {
        (false, _) => Ok(Sink::collected(limit)),
        (true, Some(id)) => Ok(Sink::streamed(&hub.client, id, name)),
        (true, None) => Err(RpcError::invalid_params(
            "a request without an id cannot stream",
        )),
    };
    let sinks = [sink(StreamName::Stdout)?, sink(StreamName::Stderr)?];
    let program = command.argv[0].clone();
    let stdio = Stdio {
        stdin: input.is_some() || keeps_open,
        stdout: true,
        stderr: true,
    };
    let session = handle.session().await?;
    let deadline = time.map(|time| Instant::now() + time);
    let mut exec = match before(deadline, session.exec_with(command, stdio)).await {
        Some(Ok(exec)) => exec,
        Some(Err(error)) => return Err(handle.explain(error).await),
        None => return Err(out_of_time()),
    };
    let control = slot.control;
    control.send_replace(Some(exec.control().clone()));
    tokio::task::spawn_local(feed(exec.stdin.take(), input, keeps_open, slot.stdin));
    let (end, [stdout, stderr], timed_out) = match until_its_end(&mut exec, sinks, deadline).await {
        Ok(ended) => ended,
        Err(Some(error)) => return Err(handle.explain(error).await),
        Err(None) => return Err(out_of_time()),
    };
    let (status, signal) = status(&program, end)?;
    Ok(ExecResult {
        status,
        signal,
        truncated: stdout.truncated || stderr.truncated,
        stdout: (!stream).then(|| stdout.bytes.into()),
        stderr: (!stream && has_stderr).then(|| stderr.bytes.into()),
        timed_out,
    })
}

/// The command, as the session with the agent takes it.
fn command(handle: &Handle, request: Exec) -> Result<Command, RpcError> {
    let bytes = |data: Data, what: &str| Ok::<_, RpcError>(ByteString(data.bytes(what)?));
    if request.argv.is_empty() {
        return Err(RpcError::invalid_params("argv is empty"));
    }
    let is_name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
    if let Some(name) = request.env.keys().find(|name| !is_name(name)) {
        return Err(RpcError::invalid_params(format!(
            "env: {name:?} is no name"
        )));
    }
    let argv = request.argv.into_iter().map(|word| bytes(word, "argv"));
    let env = request.env.into_iter();
    let env = env.map(|(name, value)| Ok((ByteString::from(name), bytes(value, "env")?)));
    let mut workdir = request.cwd.map(|cwd| bytes(cwd, "cwd")).transpose()?;
    if handle.is_inspected() {
        // As chroot(1) does.
        workdir.get_or_insert_with(|| "/".into());
    }
    let user = request.user.as_deref().map(parse_user).transpose();
    Ok(Command {
        argv: argv.collect::<Result<_, _>>()?,
        env: env.collect::<Result<_, RpcError>>()?,
        // As after a login: the agent's own environment is the init's business.
        clear_env: !handle.is_inspected(),
        workdir,
        user: user.map_err(|why| RpcError::invalid_params(format!("user: {why}")))?,
        root: handle.is_inspected().then(|| ROOT.into()),
        pty: request.tty.map(|size| WindowSize {
            rows: size.rows,
            columns: size.columns,
        }),
    })
}

/// Writes the input that came with the request. Then other requests may write, or it ends.
async fn feed(
    stdin: Option<StreamWriter>,
    input: Option<Vec<u8>>,
    keeps_open: bool,
    mut place: OwnedMutexGuard<Option<StreamWriter>>,
) {
    let Some(mut stdin) = stdin else { return };
    // Fails if the command reads no more, which is its business.
    let _ = stdin.write_all(&input.unwrap_or_default()).await;
    match keeps_open {
        true => *place = Some(stdin),
        false => drop(stdin.shutdown().await),
    }
}

type Ended = (ExecEnd, [Sink; 2], bool);

/// Waits for the command and for its output, and kills it at the deadline. None if it does not even
/// end then.
async fn until_its_end(
    exec: &mut RunningExec,
    [mut first, mut second]: [Sink; 2],
    deadline: Option<Instant>,
) -> Result<Ended, Option<SessionError>> {
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let control = exec.control().clone();
    let (over, is_over) = watch::channel(false);
    let mut timed_out = false;
    let ended = {
        let waiting = async {
            let end = exec.wait().await;
            over.send_replace(true);
            end
        };
        let outputs = async {
            tokio::join!(
                first.take(stdout, is_over.clone()),
                second.take(stderr, is_over.clone())
            )
        };
        let mut all = std::pin::pin!(async { tokio::join!(waiting, outputs).0 });
        match before(deadline, &mut all).await {
            Some(ended) => ended,
            None => {
                timed_out = true;
                let killing = async {
                    // It may have ended meanwhile.
                    let _ = control.signal(Signal::SIGKILL as i32).await;
                    all.await
                };
                timeout(KILLED, killing).await.map_err(|_| None)?
            }
        }
    };
    Ok((ended.map_err(Some)?, [first, second], timed_out))
}

/// The status and the signal of a command that ended so; an error if it was not executed.
fn status(program: &ByteString, end: ExecEnd) -> Result<(u8, Option<i32>), RpcError> {
    let failed = |why: &str, errno| {
        let mut error = RpcError::new(ErrorKind::Refused, format!("{program}: {why}"));
        error.data.errno = Some(name_of(errno));
        error
    };
    match end {
        ExecEnd::Exited(status) => Ok((status, None)),
        ExecEnd::Signalled(signal) => Ok((Status::Signalled(signal).code(), Some(signal))),
        ExecEnd::NotFound => Err(failed("not found in the guest", nix::libc::ENOENT)),
        ExecEnd::NotInvocable(errno) => {
            let why = nix::errno::Errno::from_raw(errno).desc();
            let why = format!("cannot be executed in the guest: {why}");
            Err(failed(&why, errno))
        }
    }
}

/// The number of a signal: `TERM`, `SIGTERM` or 15.
pub(super) fn signal_number(signal: &SignalName) -> Result<i32, RpcError> {
    let unknown = |name: &dyn std::fmt::Display| {
        RpcError::invalid_params(format!("no signal {name}"))
            .hint("a name, such as TERM, or a number from 1 to 64")
    };
    match signal {
        SignalName::Number(number @ 1..=64) => Ok(*number),
        SignalName::Number(number) => Err(unknown(number)),
        SignalName::Name(name) => {
            let full = match name.starts_with("SIG") {
                true => name.clone(),
                false => format!("SIG{name}"),
            };
            let known = full.parse::<Signal>();
            known.map(|signal| signal as i32).map_err(|_| unknown(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_signal_is_a_name_or_a_number() {
        let number = |name: &str| signal_number(&SignalName::Name(name.into()));
        assert_eq!(number("TERM"), Ok(15));
        assert_eq!(number("SIGKILL"), Ok(9));
        assert_eq!(signal_number(&SignalName::Number(34)), Ok(34));
        for wrong in [
            number("TREM"),
            number(""),
            signal_number(&SignalName::Number(0)),
        ] {
            assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidParams);
        }
    }

    #[test]
    fn a_command_has_words_and_names() {
        let handle = Handle::new("m1".into(), "/");
        let parsed = |json| command(&handle, serde_json::from_value(json).unwrap());
        for wrong in [
            json!({"argv": []}),
            json!({"argv": ["a"], "env": {"A=": "b"}}),
            json!({"argv": ["a"], "user": "7:"}),
            json!({"argv": [{"base64": "?"}]}),
        ] {
            let error = parsed(wrong.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidParams, "{wrong}");
        }
        let right = parsed(json!({"argv": ["a", {"base64": "/w=="}], "env": {"A": ""}})).unwrap();
        assert_eq!(right.argv[1], ByteString(vec![0xff]));
        assert!(right.clear_env && right.root.is_none());
    }
}
