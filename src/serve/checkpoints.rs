//! Checkpoints of the machines of a session, and the machines that are started from them.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::errors::of_failure;
use super::handle::{self, Handle, Order};
use super::hub::Hub;
use super::limits::entries_wanted;
use super::machine::{SessionMachine, phase_times};
use crate::commands::args::saved;
use crate::commands::diff::DiffOptions;
use crate::launch::BranchSpec;
use crate::launch::keep::{KeepSpec, Kept};
use crate::rpc::changes::{Diff, DiffResult};
use crate::rpc::exec::Done;
use crate::rpc::machines::{
    Branch, BranchResult, CheckpointParams, CheckpointResult, Keep, KeepResult, KeptImage, Release,
    Revert, RevertResult, Save, SaveResult,
};
use crate::rpc::{Data, RpcError};

pub(super) async fn checkpoint(
    hub: &Hub,
    request: CheckpointParams,
) -> Result<CheckpointResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let sync = request.sync;
    let saved = handle
        .ask(|reply| Order::Checkpoint { sync, reply })
        .await?;
    let (saved, phases) = saved.map_err(|failure| of_failure(&failure))?;
    Ok(CheckpointResult {
        bytes: saved.checkpoint.bytes(),
        checkpoint: hub.checkpoints.add(saved),
        phases,
    })
}

pub(super) async fn branch(hub: &Rc<Hub>, request: Branch) -> Result<BranchResult, RpcError> {
    let saved = hub.checkpoints.find(&request.checkpoint)?;
    let spec = spec(request.hostname, request.new_machine_id)?;
    let branched = Box::pin(saved.branch(spec)).await;
    let guest = branched.map_err(|failure| of_failure(&failure))?;
    let phases = phase_times(guest.live.phases());
    let handle = hub.add_machine(|id| Handle::new(id, "/"));
    let machine = handle.id.clone();
    let guest = SessionMachine::Guest(Box::new(guest));
    tokio::task::spawn_local(Box::pin(handle::hold(
        Rc::clone(&hub.client),
        handle,
        guest,
    )));
    Ok(BranchResult { machine, phases })
}

pub(super) async fn revert(hub: &Hub, request: Revert) -> Result<RevertResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let to = hub.checkpoints.find(&request.checkpoint)?;
    let spec = spec(request.hostname, request.new_machine_id)?;
    let reverted = handle
        .ask(|reply| Order::Revert { to, spec, reply })
        .await?;
    let phases = reverted.map_err(|failure| of_failure(&failure))?;
    Ok(RevertResult { phases })
}

pub(super) async fn keep(hub: &Hub, request: Keep) -> Result<KeepResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let spec = KeepSpec {
        path: request.path.into(),
        full: request.full,
        force: request.force,
    };
    let kept = handle.ask(|reply| Order::Keep { spec, reply }).await?;
    let kept = kept.map_err(|failure| match of_failure(&failure) {
        error if error.data.hint.as_deref() == Some("--force replaces it") => {
            error.hint("force replaces it")
        }
        error => error,
    })?;
    let data = |path: PathBuf| Data::from(path.into_os_string().into_vec());
    let images = kept.into_iter().map(|Kept { path, backing }| {
        let (backing, format) = backing.unzip();
        KeptImage {
            path: data(path),
            backing: backing.map(data),
            backing_format: format.map(|format| format.to_string()),
        }
    });
    Ok(KeepResult {
        images: images.collect(),
    })
}

pub(super) async fn save(hub: &Hub, request: Save) -> Result<SaveResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let name = saved::name(&request.name);
    let name = name.map_err(|why| RpcError::invalid_params(format!("name: {why}")))?;
    let saved = handle.ask(|reply| Order::Save { name, reply }).await?;
    let (template, phases) = saved.map_err(|failure| of_failure(&failure))?;
    Ok(SaveResult { template, phases })
}

pub(super) async fn diff(hub: &Hub, request: Diff) -> Result<DiffResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let options = DiffOptions {
        all: request.all,
        content: request.content,
        ..DiffOptions::default()
    };
    let limit = entries_wanted(request.limit)?;
    let order = |reply| Order::Diff {
        options,
        limit,
        reply,
    };
    let compared = handle.ask(order).await?;
    compared.map_err(|failure| of_failure(&failure))
}

pub(super) fn release(hub: &Hub, request: &Release) -> Result<Done, RpcError> {
    hub.checkpoints.remove(&request.checkpoint)?;
    Ok(Done {})
}

fn spec(hostname: Option<String>, new_machine_id: bool) -> Result<BranchSpec, RpcError> {
    if let Some(name) = &hostname {
        let checked = crate::commands::args::agent::host_name(name);
        checked.map_err(|why| RpcError::invalid_params(format!("hostname: {why}")))?;
    }
    Ok(BranchSpec {
        hostname,
        new_machine_id,
        publish: Vec::new(),
        output: None,
    })
}
