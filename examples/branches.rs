//! Drives machines, their checkpoints and branches by lines on standard input: an example of
//! [`bivouac::launch::with_live_vm`], and what the tests of checkpoints use.
//!
//!     branches IMAGE [--warm] [--disk IMAGE]... [--uefi] [--net] [--memory MIB] [--cpus N]
//!         [--publish HOST:GUEST] [--overlay-memory]
//!         [--kernel FILE --initrd FILE --append TEXT]
//!
//! Commands: `exec VM SCRIPT`, `start VM SCRIPT` (runs on), `checkpoint VM NAME`, `branch NAME VM`,
//! `revert VM NAME`, `stop VM`, `drop NAME`, `status VM`. The first machine is `root`. Each is
//! answered by a line of JSON, with an `error` if it failed.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bivouac::launch::spec::{DiskSpec, FirmwareSpec, KernelSpec};
use bivouac::launch::{
    Accelerator, BranchSpec, Checkpoint, Command, ExecEnd, Failure, LiveVm, Network, Publish,
    Quiet, Session, SessionError, StartMode, Stdio, Trust, VmSpec, with_live_vm,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

fn main() -> ExitCode {
    // The same program is the agent in the guest.
    if bivouac::agent::is_wanted() {
        return bivouac::agent::main();
    }
    let done = spec(std::env::args().skip(1))
        .map_err(Failure::from)
        .and_then(|spec| with_live_vm(&spec, &Quiet, drive));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "branches: {:#}", failure.error);
            ExitCode::FAILURE
        }
    }
}

fn spec(mut words: impl Iterator<Item = String>) -> anyhow::Result<VmSpec> {
    let image = words.next().context("an image is needed")?;
    let mut spec = VmSpec {
        accelerator: Accelerator::Tcg,
        qemu: std::env::var_os("BIVOUAC_QEMU").map(Into::into),
        ..VmSpec::of_image(image)
    };
    (spec.sandbox.read).extend(std::env::var_os("BIVOUAC_SANDBOX_READ").map(Into::into));
    let mut kernel = KernelSpec {
        kernel: PathBuf::new(),
        initrd: None,
        append: None,
    };
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--warm" => spec.start = StartMode::Warm,
            "--uefi" => spec.firmware = FirmwareSpec::Uefi,
            "--memory" => spec.memory_mib = value()?.trim_end_matches('M').parse()?,
            "--kernel" => kernel.kernel = value()?.into(),
            "--initrd" => kernel.initrd = Some(value()?.into()),
            "--append" => kernel.append = Some(value()?),
            "--cpus" => spec.cpus = value()?.parse()?,
            "--net" => {
                spec.network = Network::User {
                    publish: Vec::new(),
                    restricted: true,
                }
            }
            "--publish" => spec.network = published(&value()?)?,
            "--overlay-memory" => spec.overlay.in_memory = true,
            "--disk" => spec.disks.push(DiskSpec {
                opened: None,
                image: value()?.into(),
                format: None,
                serial: None,
                sector_size: None,
                trust: Trust::default(),
            }),
            _ => anyhow::bail!("{word} is not understood"),
        }
    }
    let is_given = !kernel.kernel.as_os_str().is_empty();
    spec.kernel = is_given.then_some(kernel);
    Ok(spec)
}

/// `HOST:GUEST`, two ports.
fn published(text: &str) -> anyhow::Result<Network> {
    let (host, guest) = text.split_once(':').context("--publish HOST:GUEST")?;
    Ok(Network::User {
        publish: vec![Publish {
            address: Ipv4Addr::LOCALHOST,
            host: host.parse()?,
            guest: guest.parse()?,
        }],
        restricted: true,
    })
}

#[derive(Default)]
struct Driver {
    machines: BTreeMap<String, LiveVm>,
    checkpoints: BTreeMap<String, Checkpoint>,
}

async fn drive(root: LiveVm) -> Result<(), Failure> {
    let (send, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
        while lines
            .next()
            .is_some_and(|line| send.blocking_send(line).is_ok())
        {}
    });
    let mut driver = Driver::default();
    driver.machines.insert("root".to_owned(), root);
    say(&json!({ "ready": true }))?;
    while let Some(line) = lines.recv().await {
        let answer = driver.obey(&line).await;
        say(&answer.unwrap_or_else(
            |failure| json!({ "error": format!("{:#}", failure.error), "hint": failure.hint }),
        ))?;
    }
    for machine in driver.machines.into_values() {
        machine.stop().await?;
    }
    Ok(())
}

fn say(answer: &Value) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{answer}").context("writing an answer")?;
    Ok(())
}

impl Driver {
    async fn obey(&mut self, line: &str) -> Result<Value, Failure> {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (verb, first, second) = (word(), word(), word());
        match verb.as_str() {
            "exec" => {
                self.machine(&first)?
                    .run(async |session| exec(session, &second).await)
                    .await
            }
            "start" => {
                let command = Command::new(["/bin/sh", "-c", &second]);
                let start =
                    async |session: &Session| session.exec_with(command, Stdio::default()).await;
                let exec = self.machine(&first)?.run(start).await?;
                Ok(json!({ "pid": exec.pid() }))
            }
            "checkpoint" => {
                let machine = self.machine(&first)?;
                let checkpoint = machine.checkpoint(false).await?;
                let answer = json!({ "phases": machine.phases(), "bytes": checkpoint.bytes() });
                self.checkpoints.insert(second, checkpoint);
                Ok(answer)
            }
            "branch" => {
                let branch = self
                    .checkpoint(&first)?
                    .branch(BranchSpec::default())
                    .await?;
                let answer = json!({ "phases": branch.phases(), "pid": branch.id() });
                self.machines.insert(second, branch);
                Ok(answer)
            }
            "revert" => {
                let checkpoint = self.checkpoint(&second)?;
                let machine = self.machine(&first)?;
                machine.revert(&checkpoint, BranchSpec::default()).await?;
                Ok(json!({ "phases": machine.phases(), "pid": machine.id() }))
            }
            "status" => Ok(json!({ "pid": self.machine(&first)?.id() })),
            "stop" => {
                let machine = self.machines.remove(&first).context("no such machine")?;
                machine.stop().await?;
                Ok(json!({}))
            }
            "drop" => {
                self.checkpoints.remove(&first);
                Ok(json!({}))
            }
            other => Err(anyhow::anyhow!("{other} is not understood").into()),
        }
    }

    fn machine(&mut self, name: &str) -> Result<&mut LiveVm, Failure> {
        let found = self.machines.get_mut(name);
        Ok(found.with_context(|| format!("no machine {name}"))?)
    }

    fn checkpoint(&self, name: &str) -> Result<Checkpoint, Failure> {
        let found = self.checkpoints.get(name).cloned();
        Ok(found.with_context(|| format!("no checkpoint {name}"))?)
    }
}

/// Runs a script, and gives its output and status.
async fn exec(session: &Session, script: &str) -> Result<Value, SessionError> {
    let stdio = Stdio {
        stdout: true,
        stderr: true,
        stdin: false,
    };
    let command = Command::new(["/bin/sh", "-c", script]);
    let mut exec = session.exec_with(command, stdio).await?;
    let (mut output, mut errors) = (String::new(), String::new());
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let read_output = async {
        match stdout {
            Some(mut stream) => stream.read_to_string(&mut output).await.map(drop),
            None => Ok(()),
        }
    };
    let read_errors = async {
        match stderr {
            Some(mut stream) => stream.read_to_string(&mut errors).await.map(drop),
            None => Ok(()),
        }
    };
    let _ = tokio::join!(read_output, read_errors);
    let status = match exec.wait().await? {
        ExecEnd::Exited(status) => status.to_string(),
        other => format!("{other:?}"),
    };
    Ok(json!({ "status": status, "stdout": output, "stderr": errors }))
}
