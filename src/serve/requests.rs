//! Serves requests: each has a task of its own.

use std::rc::Rc;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::hub::Hub;
use super::limits::{before, out_of_time, seconds};
use super::lines::Lines;
use super::{checkpoints, commands, files};
use crate::protocol::WindowSize;
use crate::rpc::changes::Diff;
use crate::rpc::exec::{Done, Exec, Resize, Signal, Write};
use crate::rpc::files::{Get, List, Put, Read, Stat};
use crate::rpc::line::{Malformed, to_value};
use crate::rpc::machines::{
    Branch, CheckpointParams, Console, ConsoleResult, Keep, Release, Revert, Save, Stop,
};
use crate::rpc::{Call, ErrorKind, Message, Method, Request, RpcError};
use crate::session::SessionError;

/// Reads requests from standard input until its end.
pub(super) async fn serve_all(hub: &Rc<Hub>, mut input: mpsc::Receiver<Vec<u8>>) {
    let mut lines = Lines::default();
    while let Some(bytes) = input.recv().await {
        let mut refused = Vec::new();
        lines.take(&bytes, |line| {
            let begun = match line {
                Ok(line) => begin(hub, line),
                Err(error) => Err(Malformed { id: None, error }),
            };
            refused.extend(begun.err());
        });
        for malformed in refused {
            hub.client.send(&Message::malformed(malformed)).await;
        }
    }
}

/// Starts the task of a request, or returns why not.
fn begin(hub: &Rc<Hub>, line: &[u8]) -> Result<(), Malformed> {
    let Request { id, method, params } = Request::parse(line)?;
    let call = Call::parse(&method, params);
    let call = call.and_then(|call| hub.begin(id.as_ref()).map(|()| call));
    let call = match call {
        Ok(call) => call,
        Err(error) if id.is_some() => return Err(Malformed { id, error }),
        Err(error) => {
            // Nobody waits for an answer.
            tracing::debug!("{method}: {}", error.message);
            return Ok(());
        }
    };
    // Before the next request, which may be for this command.
    let slot = match &call {
        Call::Exec(_) => hub.commands.add(id.as_ref()),
        _ => None,
    };
    let hub = Rc::clone(hub);
    tokio::task::spawn_local(async move {
        let result = match (call, slot) {
            (Call::Exec(request), Some(slot)) => {
                let ended = Box::pin(commands::run(&hub, id.as_ref(), slot, request)).await;
                if let Some(id) = &id {
                    hub.commands.remove(id);
                }
                ended.map(|result: <Exec as Method>::Output| to_value(&result))
            }
            (call, _) => Box::pin(serve(&hub, call)).await,
        };
        hub.finish(id, result).await;
    });
    Ok(())
}

/// The result of a request, but for that of a command.
pub(super) async fn serve(hub: &Rc<Hub>, call: Call) -> Result<Value, RpcError> {
    match call {
        // It has a place, which only its id can lack.
        Call::Exec(_) => Err(RpcError::new(
            ErrorKind::Internal,
            "the command has no place",
        )),
        Call::Write(request) => answer::<Write>(request.timeout, write(hub, request)).await,
        Call::Signal(request) => answer::<Signal>(request.timeout, signal(hub, request)).await,
        Call::Resize(request) => answer::<Resize>(request.timeout, resize(hub, request)).await,
        Call::Put(request) => {
            answer::<Put>(request.timeout, Box::pin(files::put(hub, request))).await
        }
        Call::Get(request) => {
            answer::<Get>(request.timeout, Box::pin(files::get(hub, request))).await
        }
        Call::Read(request) => answer::<Read>(request.timeout, files::read(hub, request)).await,
        Call::Stat(request) => answer::<Stat>(request.timeout, files::stat(hub, request)).await,
        Call::List(request) => answer::<List>(request.timeout, files::list(hub, request)).await,
        Call::Checkpoint(request) => {
            let timeout = request.timeout;
            answer::<CheckpointParams>(timeout, Box::pin(checkpoints::checkpoint(hub, request)))
                .await
        }
        Call::Branch(request) => {
            answer::<Branch>(request.timeout, Box::pin(checkpoints::branch(hub, request))).await
        }
        Call::Revert(request) => {
            answer::<Revert>(request.timeout, Box::pin(checkpoints::revert(hub, request))).await
        }
        Call::Release(request) => {
            let released = async { checkpoints::release(hub, &request) };
            answer::<Release>(request.timeout, released).await
        }
        Call::Diff(request) => {
            answer::<Diff>(request.timeout, Box::pin(checkpoints::diff(hub, request))).await
        }
        Call::Keep(request) => {
            answer::<Keep>(request.timeout, Box::pin(checkpoints::keep(hub, request))).await
        }
        Call::Console(request) => {
            answer::<Console>(request.timeout, async { console(hub, &request) }).await
        }
        Call::Save(request) => {
            answer::<Save>(request.timeout, Box::pin(checkpoints::save(hub, request))).await
        }
        Call::Stop(request) => answer::<Stop>(request.timeout, stop(hub, request)).await,
    }
}

/// The result of a method, unless its time runs out.
async fn answer<M: Method>(
    timeout: Option<f64>,
    work: impl Future<Output = Result<M::Output, RpcError>>,
) -> Result<Value, RpcError> {
    let time = timeout.map(seconds).transpose()?;
    let deadline = time.map(|time| tokio::time::Instant::now() + time);
    let done = before(deadline, work).await;
    done.unwrap_or_else(|| Err(out_of_time()))
        .map(|result| to_value(&result))
}

async fn write(hub: &Hub, request: Write) -> Result<Done, RpcError> {
    let bytes = request.data.bytes("data")?;
    let mut place = hub.commands.stdin(&request.exec).await?;
    let closed = |why: &str| {
        RpcError::new(
            ErrorKind::Refused,
            format!("the command's standard input {why}"),
        )
    };
    let Some(stdin) = &mut *place else {
        return Err(closed("is not open").hint("open_stdin of exec leaves it open"));
    };
    if let Err(error) = stdin.write_all(&bytes).await {
        place.take();
        return Err(match SessionError::of_stream(error) {
            SessionError::Channel(_) => closed("is read no more"),
            error => super::errors::of_session(&error),
        });
    }
    if request.eof
        && let Some(mut stdin) = place.take()
    {
        let _ = stdin.shutdown().await;
    }
    Ok(Done {})
}

async fn signal(hub: &Hub, request: Signal) -> Result<Done, RpcError> {
    let number = commands::signal_number(&request.signal)?;
    let control = hub.commands.control(&request.exec).await?;
    let sent = control.signal(number).await;
    sent.map_err(|error| super::errors::of_session(&error))?;
    Ok(Done {})
}

async fn resize(hub: &Hub, request: Resize) -> Result<Done, RpcError> {
    let control = hub.commands.control(&request.exec).await?;
    let (rows, columns) = (request.rows, request.columns);
    let set = control.resize(WindowSize { rows, columns }).await;
    set.map_err(|error| super::errors::of_session(&error))?;
    Ok(Done {})
}

fn console(hub: &Hub, request: &Console) -> Result<ConsoleResult, RpcError> {
    let lines = hub.machine(request.machine.as_deref())?.console();
    Ok(ConsoleResult { lines })
}

async fn stop(hub: &Hub, request: Stop) -> Result<Done, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    handle.stop();
    handle.ended().await;
    Ok(Done {})
}
