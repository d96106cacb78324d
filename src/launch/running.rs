//! Starts a machine to run commands in its guest, warm or cold.

use tokio::sync::mpsc;

use super::image_template::new_memory;
use super::inject::inject;
use super::spec::{AgentSpec, StartMode, Via, WaitFor};
use super::start::{Launch, RunningVm};
use super::supervisor::Interrupted;
use crate::machine::Machine;
use crate::machine::plan::MemoryMapping;
use crate::protocol::CloneIdentity;
use crate::session::{Session, SessionError, random};

impl Launch<'_> {
    /// Starts the machine, whose console goes to `output`, and waits for its agent. None, and
    /// nothing started, if the QEMU guest agent is to be asked instead.
    pub async fn start_for_commands(
        &mut self,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Option<RunningVm>, Interrupted> {
        self.check_boot_sectors()?;
        if self.spec.start == StartMode::Warm
            && let Some(vm) = self.start_warm(output.clone()).await?
        {
            return Ok(Some(vm));
        }
        if self.spec.agent.via == Via::Qga || !inject(self).await? {
            return Ok(None);
        }
        let mut machine = self.boot(output).await?;
        match self.first_contact(&mut machine).await {
            Ok(session) => Ok(Some(RunningVm::new(machine, session, None))),
            Err(interrupted) => {
                let _ = self.stop(machine).await;
                Err(interrupted)
            }
        }
    }

    /// Starts the machine without input at its console.
    pub async fn boot(
        &mut self,
        output: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Machine, Interrupted> {
        self.progress.status(&self.vm.headline);
        let sinks = self.vm.sinks(output)?;
        let memory = (self.spec.checkpoints)
            .then(|| new_memory(self, MemoryMapping::Boot))
            .transpose()?;
        let started = self.start(sinks, mpsc::channel(1).1, memory.as_ref());
        let started = started.await;
        if started.is_err() {
            self.progress.clear_status();
        }
        Ok(started.map_err(|interrupted| self.failed(interrupted))?)
    }

    async fn first_contact(&mut self, machine: &mut Machine) -> Result<Session, Interrupted> {
        let until_idle = self.spec.agent.wait_for == WaitFor::Running;
        let session = self.wait_for_agent(machine, until_idle).await?;
        if let Some(identity) = self.spec.agent.identity()? {
            let identifying = session.identify(identity);
            self.supervisor.converse(machine, identifying).await?;
        }
        Ok(session)
    }
}

impl AgentSpec {
    /// What sets the guest apart; None if nothing was asked for.
    pub(super) fn identity(&self) -> Result<Option<CloneIdentity>, SessionError> {
        if self.hostname.is_none() && !self.new_machine_id {
            return Ok(None);
        }
        Ok(Some(CloneIdentity {
            hostname: self.hostname.clone(),
            machine_id: (self.new_machine_id.then(random).transpose()?).map(machine_id),
            hardware_address: None,
        }))
    }
}

/// A random id in the form of machine-id(5): a UUID of version 4 without its dashes.
fn machine_id(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_a_random_uuid() {
        let id = machine_id([0xff; 16]);
        assert_eq!(id, "ffffffffffff4fffbfffffffffffffff");
    }
}
