//! A command in the booted guest, and the agent that runs it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::builder::{OsStringValueParser, PossibleValue, TypedValueParser};
use clap::{ValueEnum, ValueHint};

use super::command::CommandArgs;
use super::command_line::CommandLine;
use super::copy::CopyLimit;
use super::overlay::TemplateArgs;
use super::steps::steps;
use crate::launch::spec::{AgentSpec, CopySpec, Purpose, StartMode, Step, Via, WaitFor};
use crate::launch::{Failure, VmSpec};
use crate::template::store::parse_name;

/// A command in the booted guest.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Command")]
pub struct GuestArgs {
    /// The command; without one, --tty gives a shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub run: CommandArgs,
    /// What runs it: bivouac's agent, injected into the overlay, or the image's QEMU guest agent
    #[arg(long, value_enum, default_value = "auto")]
    pub via: Via,
    /// Stage of the guest's boot at which it runs
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    pub wait_for: WaitFor,
    /// Copy a file or tree into the guest before the command, or before the --prepare that follows
    /// (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_in())]
    pub copy_in: Vec<CopySpec>,
    /// Run a shell command in the machine, once: its outcome is saved and restored from then on
    /// (repeatable)
    #[arg(long, value_name = "CMD")]
    pub prepare: Vec<OsString>,
    /// Copy a file or tree out of it afterwards, also if it failed (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_out())]
    pub copy_out: Vec<CopySpec>,
    #[command(flatten)]
    pub(crate) limit: CopyLimit,
    /// Restore a saved machine that has booted, instead of booting; the first such run boots the
    /// machine and saves it
    #[arg(long)]
    pub warm: bool,
    /// Restore the machine that `template build --name` saved under NAME
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub from: Option<String>,
    /// The guest's host name
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,
    /// Give the guest a machine-id of its own
    #[arg(long)]
    pub new_machine_id: bool,
    /// The kernel of the appliance that injects the agent; default the newest in /boot that has
    /// modules
    #[arg(long, alias = "seed-kernel", env = "BIVOUAC_KERNEL", value_name = "FILE",
          value_hint = ValueHint::FilePath)]
    pub inject_kernel: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
}

impl GuestArgs {
    /// Whether anything is to be run in the guest, or its console is the user's.
    /// An error names an option that needs a command.
    pub fn is_wanted(&self) -> Result<bool, Failure> {
        let wanted = !self.command.is_empty() || self.run.tty;
        let run = &self.run;
        let given = [
            (
                "--user",
                run.context.user.is_some() && self.prepare.is_empty(),
            ),
            (
                "--workdir",
                run.context.workdir.is_some() && self.prepare.is_empty(),
            ),
            (
                "--env",
                !run.context.env.is_empty() && self.prepare.is_empty(),
            ),
            (
                "--copy-in",
                !self.copy_in.is_empty() && self.prepare.is_empty(),
            ),
            ("--copy-out", !self.copy_out.is_empty()),
            ("--hostname", self.hostname.is_some() && !self.is_restored()),
            (
                "--new-machine-id",
                self.new_machine_id && !self.is_restored(),
            ),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) if !wanted => Err(Failure::with_hint(
                anyhow!("{option} is for a command in the guest, and there is none"),
                "-- CMD, or --tty for a shell",
            )),
            _ => Ok(wanted),
        }
    }

    /// Whether the machine is restored.
    fn is_restored(&self) -> bool {
        self.warm || self.from.is_some()
    }

    /// Fills in what the machine is started for.
    pub(crate) fn complete(&self, spec: VmSpec) -> Result<VmSpec, Failure> {
        if !self.prepare.is_empty() && !self.is_restored() {
            return Err(Failure::with_hint(
                anyhow!("--prepare is for a machine that is saved and restored"),
                "--warm",
            ));
        }
        let (wait_for, kernel) = match &spec.from {
            Some(_) => (spec.agent.wait_for, spec.agent.kernel),
            None => (self.wait_for, self.inject_kernel.clone()),
        };
        Ok(VmSpec {
            purpose: match self.is_wanted()? {
                true => Purpose::Commands,
                false => Purpose::Console,
            },
            start: match self.is_restored() {
                true => StartMode::Warm,
                false => StartMode::Cold,
            },
            agent: AgentSpec {
                via: self.via,
                wait_for,
                hostname: self.hostname.clone(),
                new_machine_id: self.new_machine_id,
                kernel,
            },
            template: self.template.spec(),
            ..spec
        })
    }

    /// What prepares the machine, and what is copied in after that.
    pub(crate) fn steps(&self, typed: &CommandLine) -> (Vec<Step>, Vec<CopySpec>) {
        steps(&self.prepare, &self.copy_in, &self.run.context, typed)
    }

    /// The command, or the user's shell in the guest.
    pub fn argv(&self) -> Vec<OsString> {
        match self.command.is_empty() {
            // Which shell that is, the agent has looked up.
            true => ["/bin/sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l"]
                .map(OsString::from)
                .into(),
            false => self.command.clone(),
        }
    }
}

/// hostname(7): labels of letters, digits and hyphens; 64 bytes in Linux.
pub(crate) fn host_name(text: &str) -> Result<String, &'static str> {
    let fits = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.len() <= 64 && text.split('.').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("not a host name of letters, digits, hyphens and dots"),
    }
}

impl ValueEnum for Via {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Inject, Self::Qga]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto")
                .help("inject, or qga if the image contains no Linux system"),
            Self::Inject => PossibleValue::new("inject")
                .alias("seed")
                .help("bivouac's agent, started by the image's own init"),
            Self::Qga => {
                PossibleValue::new("qga").help("The QEMU guest agent installed in the image")
            }
        })
    }
}

impl ValueEnum for WaitFor {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Basic, Self::MultiUser, Self::Running]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Basic => {
                PossibleValue::new("basic").help("Filesystems and devices are available")
            }
            Self::MultiUser => PossibleValue::new("multi-user").help("All services have started"),
            Self::Running => PossibleValue::new("running").help("No more jobs are queued"),
        })
    }
}

/// The guest's path is absolute, so the last colon before a slash separates the two.
pub(super) fn copy_in() -> impl TypedValueParser<Value = CopySpec> {
    OsStringValueParser::new().try_map(|text| {
        let at = text.as_bytes().windows(2).rposition(|two| two == b":/");
        match at {
            Some(at) if at > 0 => Ok(split(&text, at)),
            _ => Err("not HOST-PATH:/GUEST/PATH"),
        }
    })
}

/// Here the first colon does.
pub(in crate::commands) fn copy_out() -> impl TypedValueParser<Value = CopySpec> {
    OsStringValueParser::new().try_map(|text| {
        let bytes = text.as_bytes();
        match bytes.iter().position(|byte| *byte == b':') {
            Some(at) if bytes.starts_with(b"/") && at + 1 < bytes.len() => Ok(split(&text, at)),
            _ => Err("not /GUEST/PATH:HOST-PATH"),
        }
    })
}

fn split(text: &OsStr, at: usize) -> CopySpec {
    let bytes = text.as_bytes();
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    CopySpec {
        source: part(&bytes[..at]),
        target: part(&bytes[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{FromArgMatches, error::ErrorKind};

    fn parsed(args: &[&str]) -> Result<GuestArgs, clap::Error> {
        let command = <GuestArgs as clap::Args>::augment_args(clap::Command::new("run"));
        let args = ["run"].into_iter().chain(args.iter().copied());
        GuestArgs::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn copies_are_parted_where_the_guests_path_shows() {
        let copy = |source: &str, target: &str| CopySpec {
            source: source.into(),
            target: target.into(),
        };
        let args = parsed(&[
            "--copy-in=a:b:/c:d",
            "--copy-in=./x:/y:/z",
            "--copy-out=/a:b:c",
            "--",
            "true",
        ]);
        let guest = args.unwrap();
        assert_eq!(guest.copy_in, [copy("a:b", "/c:d"), copy("./x:/y", "/z")]);
        assert_eq!(guest.copy_out, [copy("/a", "b:c")]);
        for wrong in [
            "--copy-in=a:b",
            "--copy-in=:/b",
            "--copy-out=a:b",
            "--copy-out=/a:",
        ] {
            let error = parsed(&[wrong]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{wrong}");
        }
    }

    #[test]
    fn a_host_name_is_one() {
        for right in ["a", "web-1.example.org", "1"] {
            assert_eq!(host_name(right), Ok(right.to_owned()));
        }
        let long = "a".repeat(64);
        for wrong in ["", "-a", "a-", "a..b", "a b", "ä", "a_b", &long] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_of_a_command_want_one() {
        assert!(!parsed(&[]).unwrap().is_wanted().unwrap());
        assert!(parsed(&["--", "id"]).unwrap().is_wanted().unwrap());
        let shell = parsed(&["-t", "-u", "daemon"]).unwrap();
        assert!(shell.is_wanted().unwrap());
        assert_eq!(shell.argv()[0], "/bin/sh");
        for lonely in ["--user=a", "--workdir=/", "--env=A=b", "--copy-out=/a:b"] {
            let failure = parsed(&[lonely]).unwrap().is_wanted().unwrap_err();
            let option = lonely.split('=').next().unwrap();
            assert!(failure.error.to_string().starts_with(option), "{lonely}");
        }
    }
}
