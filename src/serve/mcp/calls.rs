//! Does what a tool is called for, by the requests of the session's protocol.

use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};

use super::State;
use super::results::{as_text, entry};
use super::tools::{self, Tool};
use crate::commands::args::agent::host_name;
use crate::commands::args::command_line::CommandLine;
use crate::launch::Quiet;
use crate::rpc::exec::Exec;
use crate::rpc::line::to_value;
use crate::rpc::{Call, Data, ErrorKind, Id, RpcError};
use crate::serve::errors::of_failure;
use crate::serve::handle::{self, Handle};
use crate::serve::machine::{HowEnded, Origin};
use crate::serve::{commands, requests, start};

/// How many bytes of output or of a file are returned, by default and at most.
const DEFAULT_BYTES: u64 = 32 << 10;
const MAX_BYTES: u64 = 256 << 10;
/// How many seconds a command may run, by default and at most.
const DEFAULT_SECONDS: f64 = 120.0;
const MAX_SECONDS: f64 = 3600.0;
/// How many seconds other requests may take: a hostile guest never answers.
const PATIENCE: f64 = 600.0;
/// How many entries of a directory are listed, by default and at most.
const ENTRIES: [usize; 2] = [500, 5000];
/// How many changes are listed, by default and at most.
const CHANGES: [usize; 2] = [200, 2000];

/// The result of a tool. `id` is that of the request.
pub(super) async fn call(state: &State<'_>, id: &Id, tool: Tool) -> Result<Value, RpcError> {
    match tool {
        Tool::Images(_) => images(state),
        Tool::Start(tool) => Box::pin(start_machine(state, tool)).await,
        Tool::Status(_) => Ok(status(state)),
        Tool::Exec(tool) => Box::pin(exec(state, id, tool)).await,
        Tool::ReadFile(tool) => read_file(state, tool).await,
        Tool::WriteFile(tool) => write_file(state, tool).await,
        Tool::ListDirectory(tool) => list_directory(state, tool).await,
        Tool::Checkpoint(tool) => checkpoint(state, &tool.machine).await,
        Tool::Branch(tool) => branch(state, tool).await,
        Tool::Revert(tool) => {
            let params = json!({"machine": tool.machine, "checkpoint": tool.checkpoint});
            ask(state, "revert", params).await?;
            Ok(json!({"machine": tool.machine}))
        }
        Tool::Release(tool) => {
            let done = ask(state, "release", json!({"checkpoint": tool.checkpoint})).await?;
            state.checkpoints.borrow_mut().remove(&tool.checkpoint);
            Ok(done)
        }
        Tool::Diff(tool) => {
            let limit = bounded(tool.limit, CHANGES, "changes")?;
            let params = json!({"machine": tool.machine, "content": tool.content, "all": tool.all,
                                "limit": limit});
            ask(state, "diff", params).await
        }
        Tool::Console(tool) => ask(state, "console", json!({"machine": tool.machine})).await,
        Tool::Stop(tool) => ask(state, "stop", json!({"machine": tool.machine})).await,
    }
}

/// Serves a request of the session's protocol, in a bounded time.
async fn ask(state: &State<'_>, method: &str, mut params: Value) -> Result<Value, RpcError> {
    params["timeout"] = PATIENCE.into();
    let call = Call::parse(method, params)?;
    Box::pin(requests::serve(&state.hub, call)).await
}

fn images(state: &State<'_>) -> Result<Value, RpcError> {
    let found = state.allowed.list();
    let found = found.map_err(|failure| of_failure(&failure))?;
    let images = found
        .iter()
        .map(|(path, bytes)| json!({"image": path.to_string_lossy(), "bytes": bytes}));
    Ok(json!({"images": images.collect::<Vec<_>>()}))
}

fn status(state: &State<'_>) -> Value {
    let machines = state.machines.borrow();
    let machines = machines.iter().map(|(handle, origin)| {
        json!({"machine": handle.id, "from": origin, "ended": handle.has_ended()})
    });
    let checkpoints = state.checkpoints.borrow();
    let checkpoints = checkpoints.iter();
    let checkpoints = checkpoints.map(|(id, machine)| json!({"checkpoint": id, "of": machine}));
    json!({
        "machines": machines.collect::<Vec<_>>(),
        "checkpoints": checkpoints.collect::<Vec<_>>(),
    })
}

async fn start_machine(state: &State<'_>, tool: tools::Start) -> Result<Value, RpcError> {
    let image = state.allowed.find(&tool.image)?;
    if let Some(name) = &tool.hostname {
        let checked = host_name(name);
        checked.map_err(|why| RpcError::invalid_params(format!("hostname: {why}")))?;
    }
    let _place = state.place()?;
    let spec = state.args.machine(&image, tool.hostname);
    let spec = spec.map_err(|failure| of_failure(&failure))?;
    // No tool saves a machine under a name, which is what the command line is needed for.
    let typed = CommandLine::default();
    let first = Origin { spec, typed };
    let handle = state.hub.add_machine(|id| Handle::new(id, "/"));
    let unless_given_up = Starting(&handle);
    let started = tokio::select! {
        biased;
        () = handle.stopped() => return Err(RpcError::new(ErrorKind::MachineEnded, "stopped")),
        started = Box::pin(start(first, &Quiet)) => started,
    };
    let machine = match started {
        Ok(machine) => machine,
        Err(failure) => {
            let error = of_failure(&failure);
            handle
                .end(&state.hub.client, &HowEnded::Failed(failure))
                .await;
            return Err(error);
        }
    };
    std::mem::forget(unless_given_up);
    state.add(&handle, &origin(&image));
    let client = Rc::clone(&state.hub.client);
    tokio::task::spawn_local(Box::pin(handle::hold(client, Rc::clone(&handle), machine)));
    Ok(json!({"machine": handle.id}))
}

fn origin(image: &Path) -> String {
    image.to_string_lossy().into_owned()
}

/// A machine that starts: dropped, it is given up.
struct Starting<'a>(&'a Handle);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

async fn exec(state: &State<'_>, id: &Id, tool: tools::Exec) -> Result<Value, RpcError> {
    let timeout = tool.timeout.unwrap_or(DEFAULT_SECONDS);
    if timeout > MAX_SECONDS {
        let why = format!("timeout is at most {MAX_SECONDS} seconds");
        return Err(RpcError::new(ErrorKind::Limit, why));
    }
    let limit = bytes(tool.limit)?;
    let slot = state.hub.commands.add(Some(id));
    let slot =
        slot.ok_or_else(|| RpcError::new(ErrorKind::Internal, "the command has no place"))?;
    let text = |text: &str| Data::Text(text.into());
    let env = tool.env.iter();
    let request = Exec {
        machine: Some(tool.machine),
        argv: ["sh", "-c", &tool.command].map(text).into(),
        env: env
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        cwd: tool.cwd.as_deref().map(text),
        user: tool.user,
        stdin: tool.stdin.as_deref().map(text),
        limit: Some(limit),
        timeout: Some(timeout),
        ..Exec::default()
    };
    let done = Box::pin(commands::run(&state.hub, Some(id), slot, request)).await;
    state.hub.commands.remove(id);
    let mut result = to_value(&done?);
    as_text(&mut result, &["stdout", "stderr"]);
    Ok(result)
}

async fn read_file(state: &State<'_>, tool: tools::ReadFile) -> Result<Value, RpcError> {
    let params = json!({"machine": tool.machine, "path": tool.path, "offset": tool.offset,
                        "limit": bytes(tool.limit)?});
    let read = ask(state, "read", params).await?;
    let (member, content) = match &read["data"]["base64"] {
        Value::Null => ("content", &read["data"]),
        encoded => ("base64", encoded),
    };
    Ok(json!({member: content, "next": read["next"], "eof": read["eof"]}))
}

async fn write_file(state: &State<'_>, tool: tools::WriteFile) -> Result<Value, RpcError> {
    let content = match (tool.content, tool.base64) {
        (Some(text), None) => json!(text),
        (None, Some(base64)) => json!({"base64": base64}),
        _ => return Err(RpcError::invalid_params("give content or base64")),
    };
    let mode = tool.mode.as_deref().unwrap_or("0644");
    let mode = u32::from_str_radix(mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    let mode = mode.ok_or_else(|| RpcError::invalid_params("mode is octal, such as 0755"))?;
    let params = json!({"machine": tool.machine, "path": tool.path, "content": content,
                        "mode": mode});
    ask(state, "put", params).await?;
    Ok(json!({"path": tool.path}))
}

async fn list_directory(state: &State<'_>, tool: tools::ListDirectory) -> Result<Value, RpcError> {
    let limit = bounded(tool.limit, ENTRIES, "entries")?;
    let params = json!({"machine": tool.machine, "path": tool.path, "recursive": tool.recursive,
                        "limit": limit});
    let listed = ask(state, "list", params).await?;
    let entries = listed["entries"].as_array().map(Vec::as_slice);
    let mut entries: Vec<_> = entries.unwrap_or_default().iter().map(entry).collect();
    entries.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Ok(json!({"entries": entries, "truncated": listed["truncated"]}))
}

async fn checkpoint(state: &State<'_>, machine: &str) -> Result<Value, RpcError> {
    let _place = state.place_for_checkpoint()?;
    // What was done before shall not count as a change afterwards.
    let saved = ask(
        state,
        "checkpoint",
        json!({"machine": machine, "sync": true}),
    )
    .await?;
    let id = saved["checkpoint"].as_str().unwrap_or_default();
    let mut checkpoints = state.checkpoints.borrow_mut();
    checkpoints.insert(id.to_owned(), machine.to_owned());
    Ok(json!({"checkpoint": id, "bytes": saved["bytes"]}))
}

async fn branch(state: &State<'_>, tool: tools::Branch) -> Result<Value, RpcError> {
    let _place = state.place()?;
    let params = json!({"checkpoint": tool.checkpoint, "hostname": tool.hostname});
    let branched = ask(state, "branch", params).await?;
    let id = branched["machine"].as_str();
    state.add(&state.hub.machine(id)?, &tool.checkpoint);
    Ok(json!({"machine": id}))
}

fn bytes(limit: Option<u64>) -> Result<u64, RpcError> {
    match limit.unwrap_or(DEFAULT_BYTES) {
        limit @ 0..=MAX_BYTES => Ok(limit),
        _ => Err(RpcError::new(
            ErrorKind::Limit,
            format!("limit is at most {MAX_BYTES} bytes"),
        )),
    }
}

fn bounded(limit: Option<usize>, [default, most]: [usize; 2], of: &str) -> Result<usize, RpcError> {
    match limit.unwrap_or(default) {
        limit if limit <= most => Ok(limit),
        _ => Err(RpcError::new(
            ErrorKind::Limit,
            format!("limit is at most {most} {of}"),
        )),
    }
}
