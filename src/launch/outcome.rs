//! What came of a VM.

use super::end_message;
use super::failure::Failure;
use super::prepare::PreparedVm;
use crate::exit::Status;
use crate::machine::end::End;
use crate::session::qga;

#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing was started: QEMU's command line, ready for a shell.
    DryRun(String),
    CommandExited {
        status: Status,
    },
    VmEnded {
        status: Status,
        end: End,
        /// What the user should know, if it was no success.
        message: Option<String>,
        hint: Option<String>,
        tail: Vec<String>,
    },
}

impl Outcome {
    pub fn status(&self) -> Status {
        match self {
            Self::DryRun(_) => Status::Success,
            Self::VmEnded { status, .. } | Self::CommandExited { status } => *status,
        }
    }
}

impl PreparedVm {
    /// The outcome of a machine that ran to its end.
    pub(crate) fn ended(&self, end: End, tail: Vec<String>) -> Outcome {
        let (message, hint) = end_message::describe(&end, &tail, &self.drives, self.max_write);
        Outcome::VmEnded {
            status: end.status(),
            end,
            message,
            hint,
            tail,
        }
    }

    /// The outcome of a machine that ended before its command did.
    pub(crate) fn ended_early(&self, end: End, tail: Vec<String>) -> Outcome {
        let failure = self.failure(&end, &tail);
        let is_users_choice = matches!(end, End::UserQuit | End::Signalled(_));
        Outcome::VmEnded {
            status: failure.status,
            message: (!is_users_choice).then(|| format!("{:#}", failure.error)),
            hint: failure.hint,
            end,
            tail,
        }
    }

    /// A machine that ended before its command did, as an error.
    pub(crate) fn failure(&self, end: &End, tail: &[String]) -> Failure {
        let End::TimedOut {
            option: "--boot-timeout",
            length,
        } = end
        else {
            return end_message::failure(end, tail, &self.drives, self.max_write);
        };
        let port = self.plan.agent.as_ref();
        let (agent, hint) = match port.is_some_and(|port| port.name == qga::PORT) {
            true => (
                "the QEMU guest agent",
                "a longer --boot-timeout, or an image that has and starts qemu-guest-agent",
            ),
            false => (
                "the guest's agent",
                "a longer --boot-timeout, or --console-log FILE to see what keeps it",
            ),
        };
        let seconds = length.as_secs_f64();
        let lines: String = tail.iter().map(|line| format!("\n  {line}")).collect();
        Failure {
            error: anyhow::anyhow!(
                "{agent} did not answer within {seconds} s; its console said last:{lines}"
            ),
            hint: Some(hint.to_owned()),
            status: end.status(),
        }
    }
}
